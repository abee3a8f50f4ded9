//! Kconfig fragments: the settings that they request, and the ones that a final `.config` lacks.

use std::collections::HashMap;

/// A parsed Kconfig fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// The fragment's file name.
    name: String,
    settings: Vec<Setting>,
}

/// One setting of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    /// The symbol, with the prefix `CONFIG_`.
    symbol: String,
    /// The text after `=`; `n` for "is not set".
    value: String,
    /// Whether the line above is a comment that begins with `# optional`.
    optional: bool,
}

/// A setting that the final `.config` lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DroppedSetting {
    /// The line of the fragment.
    pub line: String,
    /// The fragment's name.
    pub fragment: String,
    /// The symbol's value in the `.config`, as a phrase.
    pub found: String,
}

impl Fragment {
    /// Parses a fragment: lines `CONFIG_X=value` and `# CONFIG_X is not set`, comments, empty lines. A
    /// comment that begins with `# optional` makes the next line optional.
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let mut settings = Vec::new();
        let mut optional = false;
        for line in text.lines() {
            if let Some((symbol, value)) = parse_setting(line) {
                settings.push(Setting { symbol: symbol.into(), value: value.into(), optional });
            }
            optional = line.starts_with("# optional");
        }
        Self { name: name.into(), settings }
    }
}

impl DroppedSetting {
    /// Whether the setting is of this symbol, given with or without `CONFIG_`.
    pub(super) fn is_of(&self, symbol: &str) -> bool {
        let name = self.line.split('=').next().unwrap_or_default();
        name == symbol || name.strip_prefix("CONFIG_") == Some(symbol)
    }
}

/// Settings of the fragments that did not make it into `config`, in order. A later fragment overrides an
/// earlier one.
pub(super) fn dropped(fragments: &[Fragment], config: &str) -> Vec<DroppedSetting> {
    let final_config: HashMap<&str, &str> = config.lines().filter_map(parse_setting).collect();
    let mut wanted: HashMap<&str, (&Fragment, &Setting)> = HashMap::new();
    for fragment in fragments {
        wanted.extend(
            fragment.settings.iter().map(|settings| (settings.symbol.as_str(), (fragment, settings))),
        );
    }
    let in_order = fragments.iter().flat_map(|fragment| &fragment.settings);
    let dropped = in_order.filter_map(|settings| wanted.remove(settings.symbol.as_str())).filter_map(
        |(fragment, settings)| {
            // A symbol that is not visible at all is as good as off.
            let found = final_config.get(settings.symbol.as_str()).copied().unwrap_or("n");
            (found != settings.value && !settings.optional).then(|| DroppedSetting {
                line: format!("{}={}", settings.symbol, settings.value),
                fragment: fragment.name.clone(),
                found: if found == "n" { "it is not set".into() } else { format!("it is set to {found}") },
            })
        },
    );
    dropped.collect()
}

/// The symbol and value of a `.config`'s line; `n` for "is not set".
pub(super) fn parse_setting(line: &str) -> Option<(&str, &str)> {
    match line.strip_prefix("# ") {
        Some(comment) => Some((comment.strip_suffix(" is not set")?, "n"))
            .filter(|(symbol, _)| symbol.starts_with("CONFIG_")),
        None => line.split_once('=').filter(|(symbol, _)| symbol.starts_with("CONFIG_")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped_of(fragment: &str, config: &str) -> Option<String> {
        let fragments = [Fragment::parse("base", "CONFIG_B=y\n"), Fragment::parse("more", fragment)];
        let dropped = dropped(&fragments, config).into_iter().next();
        dropped.map(|one| format!("{} of {}: {}", one.line, one.fragment, one.found))
    }

    #[test]
    fn a_symbol_that_did_not_survive_is_named_with_its_fragment() {
        let said = dropped_of("CONFIG_A=y\n", "CONFIG_B=y\n# CONFIG_A is not set\n");
        assert_eq!(said.unwrap(), "CONFIG_A=y of more: it is not set");
        assert_eq!(
            dropped_of("CONFIG_A=4\n", "CONFIG_B=y\nCONFIG_A=5\n").unwrap(),
            "CONFIG_A=4 of more: it is set to 5"
        );
    }

    #[test]
    fn off_is_given_by_a_symbol_that_is_not_there() {
        assert_eq!(dropped_of("CONFIG_A=n\n# CONFIG_C is not set\n", "CONFIG_B=y\n"), None);
        assert_eq!(
            dropped_of("CONFIG_A=n\n", "CONFIG_B=y\nCONFIG_A=y\n").unwrap(),
            "CONFIG_A=n of more: it is set to y"
        );
    }

    #[test]
    fn an_optional_symbol_may_be_missing_and_the_next_one_may_not() {
        assert_eq!(dropped_of("# optional: since 5.13\nCONFIG_A=y\n", "CONFIG_B=y\n"), None);
        assert!(
            dropped_of("# optional\nCONFIG_A=y\nCONFIG_C=y\n", "CONFIG_B=y\n")
                .unwrap()
                .starts_with("CONFIG_C")
        );
    }

    #[test]
    fn every_line_that_did_not_survive_is_named_once() {
        let fragments = [
            Fragment::parse("a", "CONFIG_A=y\nCONFIG_B=y\n"),
            Fragment::parse("b", "CONFIG_A=y\nCONFIG_C=y\n"),
        ];
        let lines: Vec<String> =
            dropped(&fragments, "CONFIG_B=y\n").into_iter().map(|one| one.line).collect();
        assert_eq!(lines, ["CONFIG_A=y", "CONFIG_C=y"]);
    }

    #[test]
    fn a_later_fragment_overrides_an_earlier_one() {
        assert_eq!(dropped_of("CONFIG_B=n\n", ""), None);
    }
}
