//! Which options exist, read from the document of defaults: each with its place in it, its bound and its
//! default. It knows none of them by name, and nothing of where other values come from.

use toml::Value;

use super::{VARIABLE_PREFIX, bound::Bound, document, error::ConfigError, text::Document};

/// One option.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) section: String,
    pub(super) name: String,
    /// The line of the document on which it stands, counted from 1.
    pub(super) line: usize,
    pub(super) bound: Bound,
    pub(super) default: Value,
}

impl Known {
    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}_{}", self.section, self.name).to_uppercase().replace(['-', '.'], "_")
    }
}

/// Reads all options of the document of defaults.
pub(super) fn read(document: &Document) -> Result<Vec<Known>, ConfigError> {
    let lines: Vec<&str> = document.text.lines().collect();
    let mut options = Vec::new();
    for section in document::sections(document)? {
        for entry in section.entries {
            let (line, _) = document.line_and_column(entry.key);
            let bound = bound(&lines[..lines.len().min(line - 1)], &entry.value)
                .map_err(|reason| ConfigError::Defaults { place: document.place(entry.key), reason })?;
            let section = section.name.clone();
            options.push(Known { section, name: entry.option, line, bound, default: entry.value });
        }
    }
    Ok(options)
}

/// The bound in the comment that ends the lines `above` an option.
fn bound(above: &[&str], default: &Value) -> Result<Bound, &'static str> {
    let shown = described(above).ok_or("expected a meaning and below it a bound in brackets, in the comment above")?;
    let bound = Bound::parse(shown, default).ok_or("this bound does not fit the default's type")?;
    bound.check(default).map_err(|_| "the default lies outside its bound")?;
    Ok(bound)
}

/// The text in brackets on the last of these lines, if a meaning precedes it.
fn described<'a>(above: &[&'a str]) -> Option<&'a str> {
    let mut comment = above.iter().rev().map_while(|line| line.strip_prefix("# "));
    let bound = comment.next()?.strip_prefix('[')?.strip_suffix(']')?;
    comment.next().filter(|meaning| meaning.ends_with(['.', '?']))?;
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        read(&Document::new("d.toml", text.to_owned())).unwrap_err().to_string()
    }

    #[test]
    fn an_option_needs_a_meaning_and_a_bound_that_holds_its_default() {
        let lacks = "d.toml:{}:1: expected a meaning and below it a bound in brackets, in the comment above";
        assert_eq!(reason("[a]\nb = 1\n"), lacks.replace("{}", "2"));
        assert_eq!(reason("[a]\n# Meaning.\nb = 1\n"), lacks.replace("{}", "3"));
        assert_eq!(reason("[a]\n# [1 .. 2 things]\nb = 1\n"), lacks.replace("{}", "3"));
        assert_eq!(reason("[a]\n# Meaning.\n# [1 .. 2 things]\n\nb = 1\n"), lacks.replace("{}", "5"));
        assert_eq!(
            reason("[a]\n# Meaning.\n# [2 .. 3 things]\nb = 1\n"),
            "d.toml:4:1: the default lies outside its bound"
        );
        assert_eq!(
            reason("[a]\n# Meaning.\n# [text | json]\nb = 1\n"),
            "d.toml:4:1: this bound does not fit the default's type"
        );
    }
}
