//! What can be wrong with a configuration, and where. It only words errors; it finds none.

use std::fmt;

use super::text::FileError;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file, at a line and a column that both count from 1.
    File {
        /// The file as the user named it.
        path: String,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In an environment variable of this name.
    Variable(String),
    /// In a `--set` flag with this text, cut to 64 characters.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped because a path or a flag may hold line breaks, and this also ends up in a TOML comment.
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.escape_debug()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(text) => write!(f, "--set {}", text.escape_debug()),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be had.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no TOML.
    #[error("{place}: {reason}")]
    Syntax {
        /// Where it stops being TOML.
        place: Place,
        /// What TOML expected.
        reason: String,
    },
    /// A section that does not exist.
    #[error("{place}: unknown section {got:?}; {hint}")]
    UnknownSection {
        /// Where it stands.
        place: Place,
        /// Its name, cut to 64 characters.
        got: String,
        /// The nearest one, or all of them.
        hint: String,
    },
    /// An option that its section does not have.
    #[error("{place}: unknown option {got:?} in section {section}; {hint}")]
    UnknownOption {
        /// Where it stands.
        place: Place,
        /// The section.
        section: String,
        /// The option's name, cut to 64 characters.
        got: String,
        /// The nearest one, or all of them.
        hint: String,
    },
    /// An environment variable that is neither an option nor used otherwise.
    #[error("unknown environment variable {name}; the nearest known one is {nearest}")]
    UnknownVariable {
        /// Its name, cut to 64 characters.
        name: String,
        /// The known name that is most like it.
        nearest: String,
    },
    /// A `--set` that sets nothing.
    #[error("--set {got:?}: expected section.option=value, such as log.format=json")]
    Flag {
        /// The flag's text, cut to 64 characters.
        got: String,
    },
    /// A value of the wrong type.
    #[error("{place}: {option}: expected {expected}, got {got}")]
    Type {
        /// Who set it.
        place: Place,
        /// The option as `section.option`.
        option: String,
        /// The right type and the bound.
        expected: String,
        /// The value, cut to 64 characters.
        got: String,
    },
    /// A value outside of the option's bound.
    #[error("{place}: {option}: expected {expected}, got {got}")]
    Bound {
        /// Who set it.
        place: Place,
        /// The option as `section.option`.
        option: String,
        /// The bound.
        expected: String,
        /// The value, cut to 64 characters.
        got: String,
    },
    /// A section and the type it is read into disagree: a defect of this program.
    #[error("section {name} does not fit its type: {reason}")]
    Section {
        /// The section.
        name: String,
        /// Where they differ.
        reason: String,
    },
    /// The document of defaults breaks its own form: a defect of this program.
    #[error("{place}: {reason}")]
    Defaults {
        /// The option that does.
        place: Place,
        /// What it lacks.
        reason: &'static str,
    },
}
