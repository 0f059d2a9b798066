//! What configurations amount to, from all sources together.

use std::{collections::BTreeSet, fs, time::Duration};

use crosstalk_contract::frame::PAYLOAD_MAX;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueOptions {
    name: String,
    prefetch: u16,
    confirm_timeout: Span,
}

/// A file of its own for each test, gone when the test ends.
struct TestFile(PathBuf);

impl TestFile {
    fn new(test: &str, content: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("crosstalk-config-{test}-{}.toml", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&Sources { file: Some(self.0.clone()), ..Sources::default() })
    }

    fn error(&self) -> String {
        self.load().unwrap_err().to_string().replace(&self.0.display().to_string(), "config.toml")
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn with_variable(name: &str, value: &str) -> Result<Config, ConfigError> {
    Config::load(&Sources { environment: vec![(name.to_owned(), value.to_owned())], ..Sources::default() })
}

fn with_flag(flag: &str) -> Result<Config, ConfigError> {
    Config::load(&Sources { flags: vec![flag.to_owned()], ..Sources::default() })
}

fn file_error(test: &str, content: impl AsRef<[u8]>) -> String {
    TestFile::new(test, content).error()
}

#[test]
fn every_default_has_a_meaning_a_bound_and_lies_within() {
    let config = Config::defaults().unwrap();
    let options = DEFAULTS.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
    assert_eq!(config.settings.len(), options);
    for Setting { known, .. } in &config.settings {
        // The rendered document replaces whole lines, so each option must stand on one.
        let line = DEFAULTS.lines().nth(known.line - 1).unwrap();
        assert_eq!(line, format!("{} = {}", known.name, known.default));
    }
    assert_eq!(config.render(), DEFAULTS);
}

#[test]
fn every_option_has_a_variable_of_its_own() {
    let config = Config::defaults().unwrap();
    let variables: BTreeSet<String> = config.settings.iter().map(|setting| setting.known.variable()).collect();
    assert_eq!(variables.len(), config.settings.len());
    assert!(variables.contains("CROSSTALK_REQUEST_RESPONSE_TIMEOUT"));
    assert!(VARIABLES_ELSEWHERE.iter().all(|name| !variables.contains(*name)));
}

#[test]
fn the_largest_payload_is_what_a_frame_carries() {
    assert_eq!(PAYLOAD_MAX, 4 << 20);
    assert!(with_flag("http.payload_max=4MiB").is_ok());
    assert!(with_flag("http.payload_max=4194305").is_err());
}

#[test]
fn later_sources_win() {
    let file = TestFile::new("later", "[queue]\nprefetch = 1\nname = \"file\"\nconfirm_timeout = \"1s\"\n");
    let sources = Sources {
        file: Some(file.0.clone()),
        environment: vec![
            ("CROSSTALK_QUEUE_PREFETCH".to_owned(), "2".to_owned()),
            ("CROSSTALK_QUEUE_NAME".to_owned(), "environment".to_owned()),
            ("CROSSTALK_TOKEN".to_owned(), "not an option".to_owned()),
            ("HOME".to_owned(), "/".to_owned()),
        ],
        flags: vec!["queue.prefetch=3".to_owned(), "queue.prefetch=4".to_owned()],
    };
    let queue: QueueOptions = Config::load(&sources).unwrap().section("queue").unwrap();
    let expected =
        QueueOptions { name: "environment".into(), prefetch: 4, confirm_timeout: Span(Duration::from_secs(1)) };
    assert_eq!(queue, expected);
}

#[test]
fn each_type_is_read_from_each_source() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Read {
        payload_max: Size,
        allowed_hosts: Vec<String>,
    }
    let hosts = |flag: &str| with_flag(flag).unwrap().section::<Read>("http").unwrap().allowed_hosts;
    assert_eq!(hosts("http.allowed_hosts=[\"lab.local\", '[::1]']"), ["lab.local", "[::1]"]);
    assert_eq!(hosts("http.allowed_hosts=[::1],other"), ["[::1]", "other"]);
    assert!(with_flag("http.allowed_hosts=[\"lab.local\"").is_err());
    let lists = with_flag("http.allowed_hosts=lab.local, other").unwrap();
    let read: Read = lists.section("http").unwrap();
    assert_eq!(read.allowed_hosts, ["lab.local", "other"]);
    assert_eq!(read.payload_max.as_usize(), PAYLOAD_MAX);
    let read: Read = with_variable("CROSSTALK_HTTP_ALLOWED_HOSTS", "").unwrap().section("http").unwrap();
    assert!(read.allowed_hosts.is_empty());

    #[derive(Deserialize)]
    struct Paced {
        rate: Pace,
    }
    let file = TestFile::new("types", "streaming.rate = '6/min'");
    let paced: Paced = file.load().unwrap().section("streaming").unwrap();
    assert!((paced.rate.per_second() - 0.1).abs() < 1e-9);
}

#[test]
fn a_file_error_says_where_and_what_was_expected() {
    for (test, content, expected) in [
        (
            "range",
            "\n[queue]\n  prefetch = 0\n",
            "config.toml:3:14: queue.prefetch: expected 1 .. 10000 messages, got 0",
        ),
        (
            "type",
            "[queue]\nprefetch = \"10\"",
            "config.toml:2:12: queue.prefetch: expected an integer, 1 .. 10000 messages, got \"10\"",
        ),
        (
            "table",
            "[queue.prefetch]\na = 1",
            "config.toml:1:1: queue.prefetch: expected an integer, 1 .. 10000 messages, got a table",
        ),
        (
            "option",
            "[queue]\nname = \"a\"\nprefech = 1",
            "config.toml:3:1: unknown option \"prefech\" in section queue; did you mean prefetch?",
        ),
        (
            "options",
            "[queue]\ncolour = 1",
            "config.toml:2:1: unknown option \"colour\" in section queue; \
             expected one of name, prefetch, confirm_timeout",
        ),
        ("section", "[quue]\nname = 1", "config.toml:1:2: unknown section \"quue\"; did you mean queue?"),
        ("empty", "[quue]\n", "config.toml:1:2: unknown section \"quue\"; did you mean queue?"),
        ("plain", "queue = 3", "config.toml:1:9: queue: expected a section with options in it, such as [queue], got 3"),
        (
            "tables",
            "[[queue]]\nprefetch = 3",
            "config.toml:1:1: queue: expected a section with options in it, such as [queue], got [a table]",
        ),
        ("choice", "log.format = 'xml'", "config.toml:1:14: log.format: expected one of text | json, got \"xml\""),
        (
            "duration",
            "[amqp]\nheartbeat = 'ü'",
            "config.toml:2:13: amqp.heartbeat: expected a duration with its unit \
             such as 250ms, 10s or 2m, 1s .. 10m, got \"ü\"",
        ),
        (
            "size",
            "[http]\npayload_max = '5MiB'",
            "config.toml:2:15: http.payload_max: expected 1KiB .. 4MiB, got \"5MiB\"",
        ),
        (
            "list",
            "[http]\nallowed_hosts = ['a', 1]",
            "config.toml:2:17: http.allowed_hosts: expected a list of up to 64 printable texts, 1 .. 255 bytes each, \
             got [\"a\", 1]",
        ),
        (
            "text",
            "[queue]\nname = \"a\\nb\"",
            "config.toml:2:8: queue.name: expected printable text, 1 .. 200 bytes, got \"a\\nb\"",
        ),
        ("syntax", "[queue]\nprefetch 1", "config.toml:2:10: key with no value, expected `=`"),
    ] {
        assert_eq!(file_error(test, content), expected);
    }
    let far = file_error("far", "[kafka]\nname = 1");
    assert!(far.starts_with("config.toml:1:2: unknown section \"kafka\"; expected one of http, log, run,"), "{far}");
    let huge = file_error("huge", "queue.prefetch = 99999999999999999999");
    assert!(huge.starts_with("config.toml:1:18: "), "{huge}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = TestFile(PathBuf::from("/does/not/exist.toml")).error();
    assert_eq!(error, "config.toml: cannot be read: No such file or directory (os error 2)");
    assert_eq!(
        file_error("binary", b"[queue]\nname = '\xff'"),
        "config.toml:2:9: expected UTF-8 text, got other bytes"
    );
    let limit = usize::try_from(FILE_MAX).unwrap();
    assert!(TestFile::new("limit", " ".repeat(limit)).load().is_ok());
    assert_eq!(
        file_error("large", " ".repeat(limit + 1)),
        "config.toml: larger than 1048576 B, which no such file needs"
    );
}

#[test]
fn errors_from_elsewhere_name_the_variable_or_the_flag() {
    for (name, value, expected) in [
        (
            "CROSSTALK_QUEUE_PREFETCH",
            "0",
            "CROSSTALK_QUEUE_PREFETCH: queue.prefetch: expected 1 .. 10000 messages, got 0",
        ),
        (
            "CROSSTALK_QUEUE_PREFETCH",
            "ten",
            "CROSSTALK_QUEUE_PREFETCH: queue.prefetch: expected an integer, 1 .. 10000 messages, got \"ten\"",
        ),
        (
            "CROSSTALK_STREAMING_RATE",
            "fast",
            "CROSSTALK_STREAMING_RATE: streaming.rate: expected a rate \
             such as 100/s or 6/min, 0.01/s .. 1000000/s, got \"fast\"",
        ),
        (
            "CROSSTALK_QUEUE_PREFECH",
            "1",
            "unknown environment variable CROSSTALK_QUEUE_PREFECH; the nearest known one is CROSSTALK_QUEUE_PREFETCH",
        ),
        (
            "CROSSTALK_TOKN",
            "s3cret",
            "unknown environment variable CROSSTALK_TOKN; the nearest known one is CROSSTALK_TOKEN",
        ),
    ] {
        assert_eq!(with_variable(name, value).unwrap_err().to_string(), expected);
    }
    for (flag, expected) in [
        ("queue.prefetch=0", "--set queue.prefetch=0: queue.prefetch: expected 1 .. 10000 messages, got 0"),
        (
            "queue.prefech=1",
            "--set queue.prefech=1: unknown option \"prefech\" in section queue; did you mean prefetch?",
        ),
        ("quue.prefetch=1", "--set quue.prefetch=1: unknown section \"quue\"; did you mean queue?"),
        ("queue.prefetch", "--set \"queue.prefetch\": expected section.option=value, such as log.format=json"),
        ("prefetch=1", "--set \"prefetch=1\": expected section.option=value, such as log.format=json"),
    ] {
        assert_eq!(with_flag(flag).unwrap_err().to_string(), expected);
    }
}

#[cfg(unix)]
#[test]
fn users_are_texts_or_tables_in_every_source() {
    #[derive(Deserialize)]
    struct Users {
        users: Vec<Value>,
    }
    let count = |config: Result<Config, ConfigError>| config.unwrap().section::<Users>("broker").unwrap().users.len();
    let file = "[[broker.users]]\nname = \"a\"\npassword = \"b\"\n[[broker.users.permissions]]\nvhost = \"/\"\n\
                [[broker.users]]\nname = \"c\"\n";
    assert_eq!(count(TestFile::new("users", file).load()), 2);
    assert_eq!(count(with_flag("broker.users=a:b,c:d,e:f")), 3);
    assert_eq!(count(with_variable("CROSSTALK_BROKER_USERS", "[{name = 'a', password = 'x,y'}, 'c:d']")), 2);
    for wrong in ["[1]", "[{name = 1}]", "[{a = [{b = [{c = 'deep'}]}]}]", "['a']\nx = 1", "[", "['a'"] {
        let error = with_flag(&format!("broker.users={wrong}")).unwrap_err().to_string();
        assert!(error.contains("broker.users: expected a list of up to 1024 printable texts or tables"), "{error}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let broken = || OsString::from_vec(b"a\xff".to_vec());
    let environment = Sources::variables([("OTHER".into(), broken()), ("CROSSTALK_QUEUE_NAME".into(), broken())]);
    assert_eq!(environment.len(), 1);
    let error = Config::load(&Sources { environment, ..Sources::default() }).unwrap_err().to_string();
    let expected = "CROSSTALK_QUEUE_NAME: queue.name: expected printable text, 1 .. 200 bytes, got \"a\u{fffd}\"";
    assert_eq!(error, expected);
}

#[test]
fn a_section_and_its_type_must_agree() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fewer {
        #[serde(rename = "name")]
        _name: String,
    }
    let config = Config::defaults().unwrap();
    let error = config.section::<Fewer>("queue").unwrap_err().to_string();
    assert!(error.starts_with("section queue does not fit its type: unknown field `"), "{error}");
    let error = config.section::<Fewer>("quue").unwrap_err().to_string();
    assert_eq!(error, "section quue does not fit its type: there is no such section");
}

#[test]
fn the_rendered_document_says_who_changed_what() {
    let sources = Sources {
        environment: vec![("CROSSTALK_QUEUE_PREFETCH".to_owned(), "10".to_owned())],
        flags: vec!["queue.name=it's \"mine\"".to_owned()],
        ..Sources::default()
    };
    let rendered = Config::load(&sources).unwrap().render();
    assert!(rendered.contains("\nprefetch = 10 # from CROSSTALK_QUEUE_PREFETCH; the default is 64\n"));
    let again = TestFile::new("rendered", &rendered).load().unwrap();
    let queue: QueueOptions = again.section("queue").unwrap();
    assert_eq!((queue.prefetch, queue.name.as_str()), (10, "it's \"mine\""));
}

#[test]
fn what_concerns_one_program_is_a_document_of_its_own() {
    let sources = Sources { flags: vec!["queue.prefetch=10".to_owned()], ..Sources::default() };
    let rendered = Config::load(&sources).unwrap().render_sections("thing", &["log", "queue"]);
    assert!(rendered.starts_with("# Every option that concerns the thing, with the value in effect.\n#\n# A value is"));
    let document = Document::new("rendered", rendered.clone());
    let names: Vec<_> = document::sections(&document).unwrap().into_iter().map(|section| section.name).collect();
    assert_eq!(names, ["log", "queue"]);
    assert!(rendered.contains("\n# What nodes write to their standard error.\n[log]\n"));
    assert!(rendered.contains("\nprefetch = 10 # from --set queue.prefetch=10; the default is 64\n"));
    assert!(!rendered.contains("\n\n\n") && rendered.ends_with("confirm_timeout = \"5s\"\n"), "{rendered}");
    let again = TestFile::new("one", &rendered).load().unwrap();
    assert_eq!(again.section::<QueueOptions>("queue").unwrap().prefetch, 10);
}

fn nearly_a_file() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[queue]\n".to_owned()),
        Just("[http]\n".to_owned()),
        Just("prefetch = ".to_owned()),
        Just("allowed_hosts = [".to_owned()),
        "[0-9a-z\"'\\[\\]{}=.,#\n -]{0,8}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_as_a_file_panics(content in nearly_a_file()) {
        drop(document::sections(&Document::new("any.toml", content.clone())));
        let file = TestFile::new("any", content);
        if let Err(error) = file.load() {
            prop_assert!(error.to_string().starts_with(&file.0.display().to_string()), "{}", error);
        }
    }

    #[test]
    fn no_variable_or_flag_panics(name in "(CROSSTALK_)?[A-Z_]{0,20}|.*", text in any::<String>()) {
        drop(with_variable(&name, &text));
        drop(with_flag(&format!("{name}={text}")));
        drop(with_flag(&text));
    }

    #[test]
    fn what_is_rendered_is_read_back(name in "\\PC{1,40}", prefetch in 1u16..=10_000) {
        let config = Config::load(&Sources {
            flags: vec![format!("queue.name={name}"), format!("queue.prefetch={prefetch}")],
            ..Sources::default()
        });
        // Some random names are not printable.
        prop_assume!(config.is_ok());
        let rendered = config.unwrap().render();
        let file = TestFile::new("back", &rendered);
        let queue: QueueOptions = file.load().unwrap().section("queue").unwrap();
        prop_assert_eq!((queue.name, queue.prefetch), (name, prefetch));
    }
}
