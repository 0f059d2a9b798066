//! A TOML document as `[section]`s of options, each with the place where it stands. It does not know which
//! sections and options exist.

use serde::Deserialize as _;
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    bound,
    error::{ConfigError, Place},
    text::{Document, cut},
};

/// One section as a document has it.
pub(super) struct Section {
    pub(super) name: String,
    /// Offset of its name.
    pub(super) key: usize,
    pub(super) entries: Vec<Entry>,
}

/// One option in it.
pub(super) struct Entry {
    pub(super) option: String,
    /// Offset of its name.
    pub(super) key: usize,
    /// Offset of its value.
    pub(super) at: usize,
    pub(super) value: Value,
}

/// All of them in the order of the document, so that the first error reported is the first one met reading it.
pub(super) fn sections(document: &Document) -> Result<Vec<Section>, ConfigError> {
    let root = DeTable::parse(&document.text).map_err(|error| syntax(document, &error, 0))?;
    let mut sections = Vec::new();
    for (name, options) in root.into_inner() {
        let (key, name) = (name.span().start, name.into_inner().into_owned());
        let span = options.span();
        let options = match options.into_inner() {
            DeValue::Table(options) => options,
            other => {
                let value = read(document, Spanned::new(span.clone(), other))?;
                return Err(no_section(document.place(span.start), &name, &value));
            }
        };
        let mut entries = Vec::new();
        for (option, value) in options {
            let (key, at) = (option.span().start, value.span().start);
            entries.push(Entry { option: option.into_inner().into_owned(), key, at, value: read(document, value)? });
        }
        entries.sort_by_key(|entry| entry.key);
        sections.push(Section { name, key, entries });
    }
    sections.sort_by_key(|section| section.key);
    Ok(sections)
}

fn read(document: &Document, value: Spanned<DeValue<'_>>) -> Result<Value, ConfigError> {
    let at = value.span().start;
    Value::deserialize(ValueDeserializer::from(value)).map_err(|error| syntax(document, &error, at))
}

fn syntax(document: &Document, error: &toml::de::Error, at: usize) -> ConfigError {
    let place = document.place(error.span().map_or(at, |span| span.start));
    ConfigError::Syntax { place, reason: error.message().to_owned() }
}

fn no_section(place: Place, name: &str, value: &Value) -> ConfigError {
    let expected = "a section with options in it, such as [queue]".to_owned();
    ConfigError::Type { place, option: cut(name), expected, got: bound::shown(value) }
}
