//! What a user may do in a virtual host: three patterns over the names of queues and exchanges, as in RabbitMQ's
//! access control guide.
//!
//! Does not know users, virtual hosts, or which method asks for which of the three.

use regex_lite::{Regex, RegexBuilder};

/// Memory one compiled pattern may take, in octets. Patterns come from the broker's owner, so this is against
/// mistakes such as `a{1000}{1000}`, not against attacks.
const PATTERN_MAX_BYTES: usize = 1 << 20;
/// The name under which patterns see the default exchange, whose real name is empty. RabbitMQ's.
const DEFAULT_EXCHANGE: &str = "amq.default";

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no regular expression: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What one user may do in one virtual host.
///
/// A pattern is a regular expression that is searched for in a name: `^` and `$` make it hold for the whole of it.
/// The empty pattern means `^$` and so allows nothing: no name is empty, the default exchange counts as
/// `amq.default`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    configure: Pattern,
    write: Pattern,
    read: Pattern,
}

impl Permissions {
    /// Permissions by three patterns.
    ///
    /// # Errors
    /// When one of them is no regular expression.
    pub fn new(configure: &str, write: &str, read: &str) -> Result<Self, PatternError> {
        let (configure, write, read) = (Pattern::new(configure)?, Pattern::new(write)?, Pattern::new(read)?);
        Ok(Self { configure, write, read })
    }

    /// Whether queues and exchanges of this name may be declared and deleted.
    #[must_use]
    pub fn allows_configure(&self, name: &str) -> bool {
        self.configure.allows(name)
    }

    /// Whether messages may be put into the queue or exchange of this name, or routed to it by a binding.
    #[must_use]
    pub fn allows_write(&self, name: &str) -> bool {
        self.write.allows(name)
    }

    /// Whether messages may be taken from the queue of this name, or routed from the exchange of this name.
    #[must_use]
    pub fn allows_read(&self, name: &str) -> bool {
        self.read.allows(name)
    }
}

/// One pattern; the two that nearly everyone uses cost nothing to ask.
#[derive(Clone, Debug, Default)]
enum Pattern {
    #[default]
    Everything,
    Nothing,
    Matching(Regex),
}

impl Pattern {
    fn new(pattern: &str) -> Result<Self, PatternError> {
        match pattern {
            "" | "^$" => Ok(Self::Nothing),
            ".*" | "^.*$" => Ok(Self::Everything),
            _ => match RegexBuilder::new(pattern).size_limit(PATTERN_MAX_BYTES).build() {
                Ok(regex) => Ok(Self::Matching(regex)),
                Err(error) => Err(PatternError { pattern: pattern.to_owned(), reason: error.to_string() }),
            },
        }
    }

    fn allows(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Matching(regex) => regex.is_match(if name.is_empty() { DEFAULT_EXCHANGE } else { name }),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Everything => ".*",
            Self::Nothing => "",
            Self::Matching(regex) => regex.as_str(),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_searched_for_unless_it_is_anchored() {
        let permissions = Permissions::new("^mine\\.", "log", "^(a|b)$").unwrap();
        assert!(permissions.allows_configure("mine.q") && !permissions.allows_configure("not.mine.q"));
        assert!(permissions.allows_write("a.log.b") && !permissions.allows_write("lo"));
        assert!(permissions.allows_read("b") && !permissions.allows_read("ab"));
    }

    #[test]
    fn the_empty_pattern_allows_nothing_and_the_default_exchange_has_a_name() {
        let none = Permissions::new("", "", "^$").unwrap();
        assert!(!none.allows_configure("q") && !none.allows_write("") && !none.allows_read("q"));
        let only_default = Permissions::new("", "^amq\\.default$", "").unwrap();
        assert!(only_default.allows_write("") && !only_default.allows_write("other"));
        let everything = Permissions::default();
        assert!(everything.allows_configure("q") && everything.allows_write("") && everything.allows_read("q\n"));
        assert_eq!(everything, Permissions::new(".*", ".*", ".*").unwrap());
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Permissions::new(".*", "a(", ".*").unwrap_err();
        assert!(error.to_string().starts_with("\"a(\" is no regular expression: "), "{error}");
        Permissions::new("(((a{100}){100}){100})", "", "").unwrap_err();
    }
}
