//! The glossary of ARCHITECTURE.md: each of its words is in use in the code.

use std::collections::BTreeSet;
use std::fs;

/// The bold words in front of each entry of the glossary: `- **claim**, **witness**: what ..`.
fn glossary(document: &str) -> Vec<String> {
    let (_, words) = document.split_once("\n## Words\n").expect("a glossary");
    let entries = words.lines().filter(|line| line.starts_with("- **"));
    entries
        .flat_map(|line| line.split(": ").next().unwrap_or(line).split("**").skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// The names in a source text, in snake case between underscores: `_known_fault_`. Comments and strings are
/// no names.
fn names(source: &str) -> BTreeSet<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    let code = code.collect::<Vec<_>>().join("\n").replace("'\"'", "").replace("\\\"", "");
    for (number, part) in code.split('"').enumerate() {
        if number % 2 == 1 {
            continue;
        }
        for name in part.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
            let mut snake = String::from("_");
            for letter in name.chars() {
                if letter.is_uppercase() && !snake.ends_with('_') && !snake.ends_with(char::is_uppercase) {
                    snake.push('_');
                }
                snake.push(letter);
            }
            found.insert(snake.to_lowercase() + "_");
        }
    }
    found
}

fn is_used(word: &str, names: &BTreeSet<String>) -> bool {
    let word = word.replace(' ', "_");
    let forms = [format!("_{word}_"), format!("_{word}s_")];
    names.iter().any(|name| forms.iter().any(|form| name.contains(form)))
}

#[test]
fn the_code_uses_each_word_of_the_glossary() {
    let mut used = BTreeSet::new();
    for name in ["kshot-stack", "kshot-guest", "kshot"] {
        let mut sources = Vec::new();
        super::files(&super::root().join(format!("harness/{name}/src")), ".rs", &mut sources);
        sources.iter().for_each(|path| used.extend(names(&fs::read_to_string(path).unwrap())));
    }
    let words = glossary(&super::read("harness/ARCHITECTURE.md"));
    let lost: Vec<_> = words.iter().filter(|word| !is_used(word, &used)).collect();
    assert!(
        lost.is_empty() && words.len() > 30,
        "no name of the code has these words: {lost:?} of {}",
        words.len()
    );
}

#[test]
fn a_word_counts_as_a_part_of_a_name_alone() {
    let names =
        names("/// a hunt\nstruct KnownFault { map: BTreeMap, said: \"a letter\" }\nfn mark_states() {}");
    let used = |word| is_used(word, &names);
    assert!(used("known fault") && used("mark") && used("state"), "{names:?}");
    assert!(!used("hunt") && !used("letter") && !used("now") && !used("fault map"), "{names:?}");
}
