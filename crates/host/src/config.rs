//! The options of a process: which exist, what values they have, and who set them.
//!
//! `config/default.toml` is the one place where an option exists: its default, its meaning and its bound stand
//! there and are read from there. What an option is for is known to whoever asks for its [`Config::section`];
//! this module knows none by name. It also reads neither the process's arguments nor its environment: both are
//! handed in as [`Sources`].

mod bound;
mod catalogue;
mod document;
mod error;
mod nearest;
mod quantity;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::Value;

use self::{catalogue::Known, text::Document};
pub use self::{
    error::{ConfigError, Place},
    quantity::{Pace, Size, Span},
    text::{FILE_MAX, FileError},
};

const DEFAULTS: &str = include_str!("../../../config/default.toml");
const DEFAULTS_PATH: &str = "config/default.toml";

/// What the environment variables of this program begin with.
pub const VARIABLE_PREFIX: &str = "CROSSTALK_";

/// Variables with the prefix that are no options of a section. Each stands for a flag of the same name:
/// the topology, the cluster's token, the configuration file, the address to listen on, the data folder, and
/// the node's name.
pub const VARIABLES_ELSEWHERE: [&str; 9] = [
    "CROSSTALK_CLUSTER",
    "CROSSTALK_TOPOLOGY",
    "CROSSTALK_TOKEN",
    "CROSSTALK_CONFIG",
    "CROSSTALK_LISTEN",
    "CROSSTALK_LISTEN_AMQP",
    "CROSSTALK_LISTEN_UDP",
    "CROSSTALK_DATA",
    "CROSSTALK_NODE",
];

/// Where values come from, weakest first. Not `Debug`: the environment holds the cluster's token.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// Environment variables; those without [`VARIABLE_PREFIX`] are passed over.
    pub environment: Vec<(String, String)>,
    /// The values of `--set`, each `section.option=value`; a later one wins.
    pub flags: Vec<String>,
}

impl Sources {
    /// The variables with [`VARIABLE_PREFIX`] among those of a process (`std::env::vars_os()`). Other variables
    /// may be no text at all and are nobody's business here; one of ours that is not keeps its readable part,
    /// which no option accepts.
    #[must_use]
    pub fn variables(all: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
        all.into_iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect()
    }
}

/// The value of every option.
#[derive(Debug, Clone)]
pub struct Config {
    settings: Vec<Setting>,
}

#[derive(Debug, Clone)]
struct Setting {
    known: Known,
    value: Value,
    /// Who replaced the default.
    origin: Option<Place>,
}

impl Config {
    /// Every option with its default.
    ///
    /// # Errors
    /// When the compiled-in document breaks its own form, which its test rules out.
    pub fn defaults() -> Result<Self, ConfigError> {
        let settings = catalogue::read(&Document::new(DEFAULTS_PATH, DEFAULTS.to_owned()))?
            .into_iter()
            .map(|known| Setting { value: known.default.clone(), known, origin: None })
            .collect();
        Ok(Self { settings })
    }

    /// The defaults, overridden by the file, then the environment, then the flags.
    ///
    /// # Errors
    /// On the first value that has the wrong type, lies outside its bound, or belongs to no option.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self::defaults()?;
        if let Some(path) = &sources.file {
            config.apply_file(path)?;
        }
        for (name, text) in &sources.environment {
            if name.starts_with(VARIABLE_PREFIX) && !VARIABLES_ELSEWHERE.contains(&name.as_str()) {
                config.apply_variable(name, text)?;
            }
        }
        for flag in &sources.flags {
            config.apply_flag(flag)?;
        }
        Ok(config)
    }

    /// One section as its typed form, which names its options as the document does.
    ///
    /// # Errors
    /// When there is no such section, or the typed form does not fit it.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        let table: toml::Table = self
            .settings
            .iter()
            .filter(|setting| setting.known.section == name)
            .map(|setting| (setting.known.name.clone(), setting.value.clone()))
            .collect();
        let misfit = |reason: String| ConfigError::Section { name: name.to_owned(), reason };
        if table.is_empty() {
            return Err(misfit("there is no such section".to_owned()));
        }
        table.try_into().map_err(|error: toml::de::Error| misfit(error.message().to_owned()))
    }

    /// The default document with the values in effect; one that differs from the default says where it came from. What it returns
    /// can be given back as a file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut lines: Vec<String> = DEFAULTS.lines().map(str::to_owned).collect();
        for Setting { known, value, origin } in &self.settings {
            if let (Some(origin), Some(line)) = (origin, lines.get_mut(known.line - 1))
                && *value != known.default
            {
                *line = format!("{} = {value} # from {origin}; the default is {}", known.name, known.default);
            }
        }
        lines.join("\n") + "\n"
    }

    /// Those sections of [`Self::render`] that concern the program `name`. What it returns can be given back as a file.
    #[must_use]
    pub fn render_sections(&self, name: &str, sections: &[&str]) -> String {
        let rendered = self.render();
        let mut paragraphs = rendered.split_inclusive("\n\n");
        // Its first line speaks of all nodes.
        let head = paragraphs.next().and_then(|head| head.split_once('\n')).map_or("", |(_, rest)| rest);
        let mut text = format!("# Every option that concerns the {name}, with the value in effect.\n{head}");
        let mut concerns = false;
        for paragraph in paragraphs {
            let last = paragraph.trim_end().lines().last();
            if let Some(section) = last.and_then(|line| line.strip_prefix('[')?.strip_suffix(']')) {
                concerns = sections.contains(&section);
            }
            if concerns {
                text += paragraph;
            }
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let document = Document::open(path)?;
        for section in document::sections(&document)? {
            // Checked even when it is empty, or a mistyped `[quue]` would pass until something stands in it.
            if self.options_of(&section.name).is_empty() {
                return Err(self.unknown_section(document.place(section.key), &section.name));
            }
            for entry in section.entries {
                match self.find(&section.name, &entry.option) {
                    Some(setting) => setting.replace(entry.value, document.place(entry.at))?,
                    None => return Err(self.unknown_option(document.place(entry.key), &section.name, &entry.option)),
                }
            }
        }
        Ok(())
    }

    fn apply_variable(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        match self.settings.iter_mut().find(|setting| setting.known.variable() == name) {
            Some(setting) => setting.replace(setting.known.bound.read(text), Place::Variable(name.to_owned())),
            None => {
                let known = self.settings.iter().map(|setting| setting.known.variable());
                let names: Vec<String> = known.chain(VARIABLES_ELSEWHERE.map(str::to_owned)).collect();
                let nearest = nearest::nearest(name, names.iter().map(String::as_str)).unwrap_or_default();
                Err(ConfigError::UnknownVariable { name: text::cut(name), nearest: nearest.to_owned() })
            }
        }
    }

    fn apply_flag(&mut self, flag: &str) -> Result<(), ConfigError> {
        let malformed = || ConfigError::Flag { got: text::cut(flag) };
        let (name, text) = flag.split_once('=').ok_or_else(malformed)?;
        let (section, option) = name.trim().split_once('.').ok_or_else(malformed)?;
        let place = Place::Flag(text::cut(flag));
        match self.find(section, option) {
            Some(setting) => setting.replace(setting.known.bound.read(text), place),
            None => Err(self.unknown_option(place, section, option)),
        }
    }

    fn find(&mut self, section: &str, option: &str) -> Option<&mut Setting> {
        self.settings.iter_mut().find(|setting| setting.known.section == section && setting.known.name == option)
    }

    fn options_of(&self, section: &str) -> Vec<&str> {
        let settings = self.settings.iter().filter(|setting| setting.known.section == section);
        settings.map(|setting| setting.known.name.as_str()).collect()
    }

    fn unknown_option(&self, place: Place, section: &str, option: &str) -> ConfigError {
        let options = self.options_of(section);
        if options.is_empty() {
            return self.unknown_section(place, section);
        }
        let hint = nearest::hint(option, &options);
        ConfigError::UnknownOption { place, section: section.to_owned(), got: text::cut(option), hint }
    }

    fn unknown_section(&self, place: Place, section: &str) -> ConfigError {
        let mut sections: Vec<&str> = self.settings.iter().map(|setting| setting.known.section.as_str()).collect();
        sections.dedup();
        ConfigError::UnknownSection { place, got: text::cut(section), hint: nearest::hint(section, &sections) }
    }
}

impl Setting {
    fn replace(&mut self, value: Value, place: Place) -> Result<(), ConfigError> {
        let option = || format!("{}.{}", self.known.section, self.known.name);
        let expected = |misfit| self.known.bound.expected(misfit);
        match self.known.bound.check(&value) {
            Ok(()) => {
                self.value = value;
                self.origin = Some(place);
                Ok(())
            }
            Err(misfit @ bound::Misfit::Type) => {
                let got = bound::shown(&value);
                Err(ConfigError::Type { place, option: option(), expected: expected(misfit), got })
            }
            Err(misfit @ bound::Misfit::Range) => {
                let got = bound::shown(&value);
                Err(ConfigError::Bound { place, option: option(), expected: expected(misfit), got })
            }
        }
    }
}
