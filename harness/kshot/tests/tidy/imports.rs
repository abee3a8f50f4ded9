//! What a module may use: only what stands above it in its crate's `lib.rs`, and no circle among the files of
//! a module.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The crates, whose `lib.rs` lists the modules in reading order.
pub(super) const CRATES: [&str; 3] = ["kshot-stack", "kshot-guest", "kshot"];

/// A module's path in its crate: `["kernel", "source"]`; empty for the crate itself.
type Module = Vec<String>;

/// The production code of a crate.
#[derive(Default)]
struct Sources {
    /// The top modules, as `lib.rs` lists them.
    order: Vec<String>,
    /// The code of each module, without comments and tests.
    code: BTreeMap<Module, String>,
    /// Of each module, the names that it has from modules below it, and which.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Sources {
    fn read(folder: &Path) -> Self {
        let mut sources = Self::default();
        let mut tests = BTreeSet::new();
        let mut files = Vec::new();
        super::files(folder, ".rs", &mut files);
        for path in files.into_iter().filter(|path| !path.ends_with("main.rs")) {
            let module = module_of(path.strip_prefix(folder).unwrap());
            let text = fs::read_to_string(&path).unwrap();
            let code = without_tests(&text, &module, &mut tests);
            if module.is_empty() && path.ends_with("lib.rs") {
                let listed = code
                    .lines()
                    .filter_map(|line| line.trim_end().strip_prefix("pub mod ")?.strip_suffix(';'));
                sources.order = listed.map(str::to_owned).collect();
            }
            sources.code.insert(module, code);
        }
        sources.code.retain(|module, _| !tests.contains(module));
        sources.exports =
            sources.code.iter().map(|(module, code)| (module.clone(), exports(module, code))).collect();
        sources
    }

    /// The modules that a module's code names, each as deep as there is a file for it.
    fn used_by(&self, module: &Module) -> BTreeSet<Module> {
        let paths = paths(&self.code[module]);
        paths.iter().filter_map(|path| self.resolve(module, path)).filter(|used| used != module).collect()
    }

    /// The module that holds what `path` names, seen from `from`; `None` for a path into another crate.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut rest = path.iter().peekable();
        let mut at = match rest.next()?.as_str() {
            "crate" => Module::new(),
            "self" => from.clone(),
            "super" => from.split_last()?.1.to_vec(),
            _ => return None,
        };
        while rest.next_if(|name| *name == "super").is_some() {
            at.pop();
        }
        for name in rest {
            let below = [at.clone(), vec![name.clone()]].concat();
            if self.code.contains_key(&below) {
                at = below;
            } else {
                let exported = self.exports.get(&at).and_then(|names| names.get(name));
                return Some(exported.cloned().unwrap_or(at));
            }
        }
        Some(at)
    }

    /// Uses of a top module by one that stands above it.
    fn climbs(&self) -> Vec<String> {
        let place = |module: &Module| self.order.iter().position(|name| Some(name) == module.first());
        let uses = self
            .code
            .keys()
            .flat_map(|module| self.used_by(module).into_iter().map(move |used| (module, used)));
        let climbs = uses
            .filter(|(module, used)| place(module).zip(place(used)).is_some_and(|(user, used)| used > user));
        climbs.map(|(module, used)| format!("{} uses {}", module.join("::"), used.join("::"))).collect()
    }

    /// Circles among the modules that lie side by side in one module.
    fn circles(&self) -> Vec<String> {
        let mut uses: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for module in self.code.keys() {
            for used in self.used_by(module) {
                let shared = module.iter().zip(&used).take_while(|(one, other)| one == other).count();
                if module.len() > shared && used.len() > shared {
                    uses.entry(module[..=shared].to_vec()).or_default().insert(used[..=shared].to_vec());
                }
            }
        }
        let reaches = |from: &Module, to: &Module| {
            let mut seen = BTreeSet::new();
            let mut open = vec![from];
            while let Some(module) = open.pop() {
                for next in uses.get(module).into_iter().flatten().filter(|next| seen.insert(*next)) {
                    open.push(next);
                }
            }
            seen.contains(to)
        };
        let pairs = uses.iter().flat_map(|(module, all)| all.iter().map(move |used| (module, used)));
        let circular = pairs.filter(|(module, used)| module < used && reaches(used, module));
        circular.map(|(one, other)| format!("{} and {}", one.join("::"), other.join("::"))).collect()
    }
}

/// The production code of each module below `folder`, without comments and tests.
pub(super) fn production_code(folder: &Path) -> BTreeMap<Vec<String>, String> {
    Sources::read(folder).code
}

/// `kernel.rs` is `kernel`, `kernel/source.rs` is `kernel::source`.
fn module_of(path: &Path) -> Module {
    let names = path.with_extension("");
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name != "lib").collect()
}

/// The code of a file without comments and without what `#[cfg(test)]` stands above; files that it includes
/// go to `tests`.
fn without_tests(text: &str, module: &Module, tests: &mut BTreeSet<Module>) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let mut item = lines.by_ref().skip_while(|line| line.trim().starts_with('#'));
            let item = item.next().unwrap_or_default();
            match item.split_once("mod ").map(|(_, name)| name) {
                Some(name) if name.contains(';') => {
                    let name = name.split(';').next().unwrap().to_owned();
                    tests.insert([module.clone(), vec![name]].concat());
                }
                Some(_) => break,
                None => {}
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap());
        code.push('\n');
    }
    code
}

/// All paths of a text that begin with `crate`, `self` or `super`, those in braces one by one.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let head = code[..at].rsplit(|c: char| !is_name(c)).next().unwrap();
        let before = code[..at - head.len()].chars().next_back();
        if ["crate", "self", "super"].contains(&head) && before != Some(':') {
            tree(&code[at - head.len()..], &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Reads one tree of a `use`, or a path, behind `prefix`; returns what follows it.
fn tree<'a>(mut text: &'a str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = prefix.len();
    loop {
        text = text.trim_start();
        if let Some(mut rest) = text.strip_prefix('{') {
            while !rest.trim_start().starts_with('}') && !rest.is_empty() {
                rest = tree(rest, prefix, found);
                rest = rest.trim_start().trim_start_matches(',');
            }
            text = rest.trim_start().trim_start_matches('}');
            break;
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        if end == 0 {
            // `*`, or something that is no path: nothing is known of it.
            text = text.get(text.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default();
            break;
        }
        prefix.push(text[..end].to_owned());
        text = &text[end..];
        let Some(rest) = text.strip_prefix("::") else {
            found.push(prefix.clone());
            if let Some(rest) = text.strip_prefix(" as ") {
                text = rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            }
            break;
        };
        text = rest;
    }
    prefix.truncate(depth);
    text
}

/// The names that a module has from modules below it (`use child::Name;`), which modules beside those may
/// take from it.
fn exports(module: &Module, code: &str) -> BTreeMap<String, Module> {
    let statements = code.split(';').filter_map(|statement| {
        let (before, tree) = statement.split_once("use ")?;
        before.trim().chars().all(|c| c.is_ascii_lowercase() || "()".contains(c)).then_some(tree)
    });
    let mut names = BTreeMap::new();
    for statement in statements {
        let mut found = Vec::new();
        tree(statement, &mut Vec::new(), &mut found);
        for path in found.into_iter().filter(|path| path.len() > 1) {
            let (name, from) = path.split_last().unwrap();
            names.insert(name.clone(), [module.clone(), from.to_vec()].concat());
        }
    }
    names
}

#[test]
fn each_module_uses_only_those_above_it_and_no_circle_is_left() {
    let mut wrong = Vec::new();
    for name in CRATES {
        let sources = Sources::read(&super::root().join(format!("harness/{name}/src")));
        assert!(!sources.order.is_empty(), "{name}'s lib.rs lists no module");
        wrong.extend(
            sources.climbs().into_iter().map(|climb| format!("{name}: {climb}, which stands below it")),
        );
        wrong.extend(sources.circles().into_iter().map(|circle| format!("{name}: {circle} use each other")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Made-up sources, a file each.
fn made_up(files: &[(&str, &str)]) -> Sources {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Sources::read(folder.path())
}

#[test]
fn a_use_against_the_order_and_a_circle_are_found() {
    let lib = ("lib.rs", "pub mod low; // below all\npub mod high; // above it\n");
    let clean = [
        lib,
        ("low.rs", "use std::fs;\n#[cfg(test)]\nmod tests {\n    use crate::high::Thing;\n}\n"),
        ("high.rs", "mod one;\nmod two;\npub use one::Thing;\nuse crate::low;\n"),
        ("high/one.rs", "use crate::low::{self, deep::{A, B}};\n// use super::two::Other;\n"),
        ("high/two.rs", "use super::Thing;\n"),
    ];
    let sources = made_up(&clean);
    assert_eq!((sources.climbs(), sources.circles()), (vec![], vec![]));

    let climbs = ["use crate::high::Thing;", "use crate::{high as top};", "fn f() { crate::high::one::f() }"];
    for text in climbs {
        let mut files = clean;
        files[1].1 = text;
        assert_eq!(made_up(&files).climbs().len(), 1, "{text}");
    }
    for text in
        ["use super::two::Other;", "use super::{two::{Other, More}};", "fn f() { crate::high::two::f() }"]
    {
        let mut files = clean;
        files[3].1 = text;
        assert_eq!(made_up(&files).circles(), ["high::one and high::two"], "{text}");
    }
}
