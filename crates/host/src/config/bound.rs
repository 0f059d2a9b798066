//! The bound line of an option: what it says, and whether a value keeps to it. Which type of value it speaks of
//! follows from the default's form. It knows no option, and not who set the value.
//!
//! | default | bound |
//! | --- | --- |
//! | `true` | `[true \| false]` |
//! | `64` | `[1 .. 10000 messages]` |
//! | `"250ms"` | `[100ms .. 5m]` |
//! | `"1MiB"` | `[1KiB .. 4MiB]` |
//! | `"100/s"` | `[0.01/s .. 1000/s]` |
//! | `"text"` | `[text \| json]` |
//! | `"crosstalk"` | `[printable text, 1 .. 200 bytes]` |
//! | `["a", "b"]` | `[up to 64 printable texts, 1 .. 255 bytes each]` |
//! | `["a", { b = "c" }]` | `[up to 64 printable texts or tables of them, 0 .. 255 bytes each]` |

use std::{ops::RangeInclusive, time::Duration};

use crosstalk_contract::units::{Rate, parse_duration, parse_size};
use toml::Value;

use super::text::cut;

/// How an error shows a table, which no option is.
pub(super) const A_TABLE: &str = "a table";

/// Tables in tables of one option: a list of things that have lists of things.
const TABLES_DEEP: usize = 2;

/// What an option may be.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    /// The text between the brackets.
    shown: String,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Switch,
    Integer(RangeInclusive<i64>),
    Duration(RangeInclusive<Duration>),
    Size(RangeInclusive<u64>),
    Rate(RangeInclusive<f64>),
    Choice(Vec<String>),
    /// Lengths in bytes.
    Text(RangeInclusive<usize>),
    /// How many texts at most, and their lengths in bytes.
    List(usize, RangeInclusive<usize>),
    /// The same with tables among the texts. What a table may hold is known to whoever reads the section.
    Entries(usize, RangeInclusive<usize>),
}

/// In which way a value does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It is of another type.
    Type,
    /// It lies outside.
    Range,
}

impl Bound {
    /// Reads the text between the brackets; nothing when it is no bound for a value like `default`.
    pub(super) fn parse(shown: &str, default: &Value) -> Option<Self> {
        let form = match default {
            Value::Boolean(_) => (shown == "true | false").then_some(Form::Switch),
            Value::Integer(_) => range(shown, |text| text.parse().ok()).map(Form::Integer),
            Value::Array(_) => {
                let (count, rest) = shown.strip_prefix("up to ")?.split_once(" printable texts")?;
                let (count, form): (_, fn(_, _) -> _) = match rest.strip_prefix(" or tables of them") {
                    Some(_) => (count.parse().ok()?, Form::Entries),
                    None => (count.parse().ok()?, Form::List),
                };
                let (_, lengths) = rest.split_once(", ")?;
                Some(form(count, lengths_in(lengths, "bytes each")?))
            }
            Value::String(_) if shown.contains(" | ") => {
                Some(Form::Choice(shown.split(" | ").map(str::to_owned).collect()))
            }
            Value::String(default) => match shown.strip_prefix("printable text, ") {
                Some(lengths) => lengths_in(lengths, "bytes").map(Form::Text),
                None => quantity(shown, default),
            },
            Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
        };
        form.map(|form| Self { shown: shown.to_owned(), form })
    }

    /// A value of this type from a text without quotes, as the environment and flags have it. A text that is
    /// none stays a text, which [`Self::check`] then refuses.
    pub(super) fn read(&self, text: &str) -> Value {
        let as_text = || Value::String(text.to_owned());
        match &self.form {
            Form::Switch => text.trim().parse().map_or_else(|_| as_text(), Value::Boolean),
            Form::Integer(_) => text.trim().parse().map_or_else(|_| as_text(), Value::Integer),
            Form::Entries(..) if text.trim_start().starts_with('[') => array(text).unwrap_or_else(as_text),
            // Nothing that a list may hold begins so; an IPv6 address begins with the bracket alone.
            Form::List(..) if ["[\"", "['"].iter().any(|start| text.trim_start().starts_with(start)) => {
                array(text).unwrap_or_else(as_text)
            }
            Form::List(..) | Form::Entries(..) if text.trim().is_empty() => Value::Array(Vec::new()),
            Form::List(..) | Form::Entries(..) => {
                Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
            }
            _ => as_text(),
        }
    }

    /// Whether the value fits.
    pub(super) fn check(&self, value: &Value) -> Result<(), Misfit> {
        let fits = match (&self.form, value) {
            (Form::Switch, Value::Boolean(_)) => true,
            (Form::Integer(range), Value::Integer(number)) => range.contains(number),
            (Form::Duration(range), Value::String(text)) => range.contains(&duration(text).ok_or(Misfit::Type)?),
            (Form::Size(range), Value::String(text)) => range.contains(&size(text).ok_or(Misfit::Type)?),
            (Form::Rate(range), Value::String(text)) => range.contains(&rate(text).ok_or(Misfit::Type)?),
            (Form::Choice(choices), Value::String(text)) => choices.contains(text),
            (Form::Text(lengths), Value::String(text)) => printable(text, lengths),
            (Form::List(most, lengths), Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                let texts = texts.ok_or(Misfit::Type)?;
                texts.len() <= *most && texts.iter().all(|text| printable(text, lengths))
            }
            (Form::Entries(most, lengths), Value::Array(items)) => {
                items.len() <= *most && entries(items, lengths, TABLES_DEEP)?
            }
            _ => return Err(Misfit::Type),
        };
        if fits { Ok(()) } else { Err(Misfit::Range) }
    }

    /// What should have stood there.
    pub(super) fn expected(&self, misfit: Misfit) -> String {
        let kind = match (&self.form, misfit) {
            (Form::Choice(_), _) => "one of ",
            (Form::List(..) | Form::Entries(..), _) => "a list of ",
            (Form::Integer(_), Misfit::Type) => "an integer, ",
            (Form::Duration(_), Misfit::Type) => "a duration with its unit such as 250ms, 10s or 2m, ",
            (Form::Size(_), Misfit::Type) => "a size such as 256B, 1KiB or 4MiB, ",
            (Form::Rate(_), Misfit::Type) => "a rate such as 100/s or 6/min, ",
            _ => "",
        };
        format!("{kind}{}", self.shown)
    }
}

/// An array as a TOML document would have it, for tables on a command line.
fn array(text: &str) -> Option<Value> {
    let mut table: toml::Table = format!("array = {text}").parse().ok()?;
    // One value and no further line, so that nothing but the array was said.
    (table.len() == 1).then(|| table.remove("array")).flatten()
}

/// Whether texts, and those in tables, have these lengths; tables may hold lists of further tables, so `deep`.
fn entries(items: &[Value], lengths: &RangeInclusive<usize>, deep: usize) -> Result<bool, Misfit> {
    let mut fit = true;
    for item in items {
        fit &= match item {
            Value::String(text) => printable(text, lengths),
            Value::Array(items) => entries(items, lengths, deep)?,
            Value::Table(table) if deep > 0 => {
                let values: Vec<Value> = table.values().cloned().collect();
                entries(&values, lengths, deep - 1)?
            }
            _ => return Err(Misfit::Type),
        };
    }
    Ok(fit)
}

/// A value for an error, cut to 64 characters.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", cut(text)),
        Value::Array(items) => cut(&format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))),
        Value::Table(_) => A_TABLE.to_owned(),
        other => cut(&other.to_string()),
    }
}

fn quantity(shown: &str, default: &str) -> Option<Form> {
    // In this order: some texts are both a duration and a size (`5m` is also five megabytes), none is a rate too.
    if default.contains('/') {
        range(shown, rate).map(Form::Rate)
    } else if duration(default).is_some() {
        range(shown, duration).map(Form::Duration)
    } else {
        range(shown, size).map(Form::Size)
    }
}

/// `low .. high`, with words for the unit after it.
fn range<T: PartialOrd>(shown: &str, read: impl Fn(&str) -> Option<T>) -> Option<RangeInclusive<T>> {
    let (low, rest) = shown.split_once(" .. ")?;
    let (low, high) = (read(low)?, read(rest.split(' ').next()?)?);
    (low <= high).then_some(low..=high)
}

fn lengths_in(shown: &str, unit: &str) -> Option<RangeInclusive<usize>> {
    range(shown.strip_suffix(unit)?, |text| text.parse().ok())
}

// The readers of units skip white space of all kinds; a line break in a quantity is a mistake all the same.
fn one_line(text: &str) -> Option<&str> {
    (!text.contains(char::is_control)).then_some(text)
}

fn duration(text: &str) -> Option<Duration> {
    parse_duration(one_line(text)?).ok()
}

fn size(text: &str) -> Option<u64> {
    parse_size(one_line(text)?).ok()
}

fn rate(text: &str) -> Option<f64> {
    one_line(text)?.parse::<Rate>().ok().map(Rate::per_second)
}

fn printable(text: &str, lengths: &RangeInclusive<usize>) -> bool {
    // The replacement character is what an unreadable byte of the environment was turned into.
    lengths.contains(&text.len()) && !text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER)
}
