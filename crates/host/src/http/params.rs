//! Query parameters, declared once: the same declaration checks a request, fills `/openapi.json`, and words
//! the error. It does not know what a parameter is for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{extract::FromRequestParts, http::request::Parts};
use crosstalk_contract::{
    RunId,
    units::{Rate, format_duration, parse_duration, parse_size},
};

use super::Refusal;

/// Longest query string, in bytes.
const QUERY_MAX: usize = 4096;

/// One query parameter.
#[derive(Debug, Clone)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What holds when it is not given, in words.
    pub default: &'static str,
    /// What it means.
    pub about: &'static str,
}

/// What a parameter may hold.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A whole number within inclusive bounds.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// Messages per time, such as `100/s`.
    Rate,
    /// A duration such as `250ms`, at most this long.
    Duration(Duration),
    /// A size such as `1KiB`, at most this many bytes; a larger one is answered with 413.
    Size(u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A run's identifier.
    Run,
    /// The name of a broker or node, checked by the role.
    Name,
    /// Any text of at most this many bytes, as the name of something that clients name.
    Text(usize),
}

#[derive(Debug, Clone)]
enum Value {
    Count(u64),
    Rate(Rate),
    Duration(Duration),
    Flag(bool),
    Run(RunId),
    Word(String),
}

/// The parameters that an endpoint takes; every request to it is held against them.
#[derive(Debug, Clone)]
pub(crate) struct Declared(pub(crate) Arc<[Param]>);

/// The parameters of one request, each within its declaration.
#[derive(Debug)]
pub struct Params(BTreeMap<&'static str, Value>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let declared = parts.extensions.get::<Declared>().map_or(&[][..], |declared| &declared.0);
        Self::read(parts.uri.query().unwrap_or_default(), declared)
    }
}

impl Params {
    pub(crate) fn read(query: &str, declared: &[Param]) -> Result<Self, Refusal> {
        if query.len() > QUERY_MAX {
            return Err(Refusal::bad("query", format!("a query of {} B, at most {QUERY_MAX} B are read", query.len())));
        }
        let mut values = BTreeMap::new();
        for (name, text) in form_urlencoded::parse(query.as_bytes()) {
            let Some(param) = declared.iter().find(|param| param.name == name) else {
                return Err(unknown(&name, declared));
            };
            let value = param.kind.read(&text).map_err(|error| error.refusal(param.name))?;
            if values.insert(param.name, value).is_some() {
                return Err(Refusal::bad(param.name, format!("parameter {name} is given twice")));
            }
        }
        Ok(Self(values))
    }

    /// A whole number.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(Value::Count(count)) => Some(*count),
            _ => None,
        }
    }

    /// A rate.
    #[must_use]
    pub fn rate(&self, name: &str) -> Option<Rate> {
        match self.0.get(name) {
            Some(Value::Rate(rate)) => Some(*rate),
            _ => None,
        }
    }

    /// A duration.
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.0.get(name) {
            Some(Value::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    /// A flag; `false` when it is not given.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Flag(true)))
    }

    /// A run.
    #[must_use]
    pub fn run(&self, name: &str) -> Option<RunId> {
        match self.0.get(name) {
            Some(Value::Run(run)) => Some(*run),
            _ => None,
        }
    }

    /// A choice, a name or a text.
    #[must_use]
    pub fn word(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Word(word)) => Some(word),
            _ => None,
        }
    }
}

struct Misfit {
    expected: String,
    got: String,
    too_large: bool,
}

impl Misfit {
    fn new(expected: impl Into<String>, got: &str) -> Self {
        Self { expected: expected.into(), got: got.chars().take(64).collect(), too_large: false }
    }

    fn refusal(self, name: &str) -> Refusal {
        let detail = format!("parameter {name}: expected {}, got {:?}", self.expected, self.got);
        if self.too_large { Refusal::too_large(detail).naming(name) } else { Refusal::bad(name, detail) }
    }
}

impl Kind {
    /// What a value must look like, in words.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Rate => "a rate between 0.01/s and 1000000/s, such as 100/s or 6/min".to_owned(),
            Self::Duration(max) => {
                format!("a duration with its unit, such as 250ms, of at most {}", format_duration(*max))
            }
            Self::Size(max) => format!("a size such as 256B or 1KiB, of at most {max} B"),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Flag => "true or false".to_owned(),
            Self::Run => "a run id of 12 hexadecimal digits".to_owned(),
            Self::Text(max) => format!("a text of 1 to {max} bytes"),
            Self::Name => "a name of at most 64 letters, digits, - . _ or :".to_owned(),
        }
    }

    fn read(&self, text: &str) -> Result<Value, Misfit> {
        let misfit = || Misfit::new(self.expected(), text);
        match self {
            Self::Count { min, max } => {
                let count = text.parse().ok().filter(|count| (min..=max).contains(&count));
                count.map(Value::Count).ok_or_else(misfit)
            }
            Self::Rate => text.parse().map(Value::Rate).map_err(|_| misfit()),
            Self::Duration(max) => {
                let duration = parse_duration(text).ok().filter(|duration| duration <= max);
                duration.map(Value::Duration).ok_or_else(misfit)
            }
            Self::Size(max) => match parse_size(text) {
                Ok(size) if size <= *max => Ok(Value::Count(size)),
                Ok(_) => Err(Misfit { too_large: true, ..misfit() }),
                Err(_) => Err(misfit()),
            },
            Self::Choice(words) => {
                let word = words.iter().find(|word| **word == text);
                word.map(|word| Value::Word((*word).to_owned())).ok_or_else(misfit)
            }
            Self::Flag => match text {
                "true" | "" => Ok(Value::Flag(true)),
                "false" => Ok(Value::Flag(false)),
                _ => Err(misfit()),
            },
            Self::Run => text.parse().map(Value::Run).map_err(|_| misfit()),
            Self::Text(max) => {
                let fits = (1..=*max).contains(&text.len());
                fits.then(|| Value::Word(text.to_owned())).ok_or_else(misfit)
            }
            Self::Name => {
                let fits = (1..=64).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/@[]".contains(&b));
                fits.then(|| Value::Word(text.to_owned())).ok_or_else(misfit)
            }
        }
    }
}

fn unknown(name: &str, declared: &[Param]) -> Refusal {
    let name: String = name.chars().take(64).collect();
    let known: Vec<_> = declared.iter().map(|param| param.name).collect();
    let hint =
        if known.is_empty() { "none is taken here".to_owned() } else { format!("known are {}", known.join(", ")) };
    Refusal::bad(&name, format!("unknown parameter {name:?}: {hint}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DECLARED: &[Param] = &[
        Param { name: "messages", kind: Kind::Count { min: 1, max: 10 }, default: "5", about: "" },
        Param { name: "rate", kind: Kind::Rate, default: "", about: "" },
        Param { name: "wait", kind: Kind::Duration(Duration::from_secs(30)), default: "", about: "" },
        Param { name: "payload", kind: Kind::Size(4096), default: "", about: "" },
        Param { name: "mode", kind: Kind::Choice(&["short", "long"]), default: "", about: "" },
        Param { name: "queue", kind: Kind::Text(8), default: "", about: "" },
    ];

    fn detail(query: &str) -> String {
        Params::read(query, DECLARED).unwrap_err().detail().to_owned()
    }

    #[test]
    fn values_are_read_in_their_units() {
        let params = Params::read("messages=3&rate=6/min&wait=250ms&payload=1KiB&mode=long", DECLARED).unwrap();
        assert_eq!((params.count("messages"), params.count("payload")), (Some(3), Some(1024)));
        assert_eq!(params.duration("wait"), Some(Duration::from_millis(250)));
        assert_eq!(params.word("mode"), Some("long"));
        assert_eq!(Params::read("queue=gr%C3%B6%C3%9F%0A", DECLARED).unwrap().word("queue"), Some("größ\n"));
    }

    #[test]
    fn errors_name_the_parameter_and_what_was_expected() {
        assert_eq!(detail("messages=0"), "parameter messages: expected a whole number from 1 to 10, got \"0\"");
        assert_eq!(detail("mode=slow"), "parameter mode: expected one of short, long, got \"slow\"");
        assert_eq!(detail("queue="), "parameter queue: expected a text of 1 to 8 bytes, got \"\"");
        assert_eq!(
            detail("mesages=5"),
            "unknown parameter \"mesages\": known are messages, rate, wait, payload, mode, queue"
        );
        assert_eq!(detail("messages=1&messages=2"), "parameter messages is given twice");
        assert!(detail("rate=1000000000000").contains("between 0.01/s and 1000000/s"));
        assert_eq!(Params::read("payload=8KiB", DECLARED).unwrap_err().status(), 413);
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".{0,200}") {
            let _ = Params::read(&query, DECLARED);
        }
    }
}
