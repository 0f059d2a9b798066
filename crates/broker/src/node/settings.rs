//! The section `[broker]` of the configuration, and what it makes of [`Options`].
//!
//! Reads the files it names. Does not know how options act.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crosstalk_host::config::{Config, ConfigError, Size, Span};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Limits, Options, PatternError, Permissions, StoreOptions, User};

/// Largest file with a password, in octets: far more than a password, and nothing to choke on.
const PASSWORD_FILE_MAX_BYTES: u64 = 4096;

/// Bounds, users and addresses. No `Debug`: it holds passwords.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    threads: usize,
    users: Vec<UserEntry>,
    vhosts: Vec<String>,
    pub(super) connections_max: usize,
    connections_per_user_max: usize,
    channels_max: u16,
    consumers_max: usize,
    queues_max: usize,
    exchanges_max: usize,
    bindings_max: usize,
    message_max: Size,
    incomplete_max: Size,
    properties_max: Size,
    frame_max: Size,
    memory_max: Size,
    memory_page_at: Size,
    delivery_backlog: Size,
    reply_backlog: Size,
    disk_max: Size,
    disk_free_min: Size,
    segment_size: Size,
    heartbeat: Span,
    handshake: Span,
    login_idle: Span,
    stall_max: Span,
    pub(super) listen_tls: String,
    pub(super) tls_certificate: PathBuf,
    pub(super) tls_key: PathBuf,
    pub(super) metrics_queues_max: usize,
}

/// How many threads the broker's tasks run on.
pub(super) fn threads(config: &Config) -> Result<usize, ConfigError> {
    Ok(config.section::<Settings>("broker")?.threads)
}

/// What is wrong with the section beyond the bounds of single options.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("broker.vhosts: expected at least one virtual host, such as /")]
    NoVhost,
    #[error("broker.users: {0} is there twice")]
    UserTwice(String),
    #[error("broker.users: {0} needs either a password or a password_file")]
    Password(String),
    #[error("broker.users: the password of {user} cannot be read from {}: {source}", .file.display())]
    PasswordFile { user: String, file: PathBuf, source: io::Error },
    #[error("broker.users: {user} has permissions in the virtual host {vhost:?}, which broker.vhosts does not name")]
    UnknownVhost { user: String, vhost: String },
    #[error("broker.users: {user} in the virtual host {vhost:?}: {source}")]
    Pattern { user: String, vhost: String, source: PatternError },
}

impl Settings {
    /// The options that follow, for a broker that keeps its files in `data`.
    pub(super) fn options(&self, data: &Path) -> Result<Options, SettingsError> {
        if self.vhosts.is_empty() {
            return Err(SettingsError::NoVhost);
        }
        let mut names = BTreeSet::new();
        let twice = self.users.iter().find(|entry| !names.insert(&entry.0.name));
        if let Some(entry) = twice {
            return Err(SettingsError::UserTwice(entry.0.name.clone()));
        }
        let users: Vec<User> = self.users.iter().map(|entry| entry.0.user()).collect::<Result<_, _>>()?;
        for user in &users {
            if let Some(unknown) = user.vhosts().find(|vhost| !self.vhosts.iter().any(|known| known == vhost)) {
                let (user, vhost) = (user.name().to_owned(), unknown.to_owned());
                return Err(SettingsError::UnknownVhost { user, vhost });
            }
        }
        Ok(Options {
            limits: self.limits(),
            heartbeat: self.heartbeat.0,
            users,
            vhosts: self.vhosts.clone(),
            data: Some(data.to_owned()),
            store: StoreOptions {
                segment_octets: self.segment_size.0,
                disk_max_octets: self.disk_max.0,
                free_min_octets: self.disk_free_min.0,
            },
            ..Options::default()
        })
    }

    fn limits(&self) -> Limits {
        Limits {
            connections: self.connections_max,
            connections_per_user: self.connections_per_user_max,
            channel_max: self.channels_max,
            frame_max: u32::try_from(self.frame_max.0).unwrap_or(u32::MAX),
            handshake: self.handshake.0,
            login_idle: self.login_idle.0,
            stall: self.stall_max.0,
            message_bytes: self.message_max.0,
            incomplete_total_bytes: self.incomplete_max.as_usize(),
            properties_bytes: self.properties_max.as_usize(),
            held_bytes: self.memory_max.as_usize(),
            resident_bytes: self.memory_page_at.as_usize(),
            delivery_bytes: self.delivery_backlog.as_usize(),
            reply_bytes: self.reply_backlog.as_usize(),
            queues: self.queues_max,
            exchanges: self.exchanges_max,
            bindings: self.bindings_max,
            consumers: self.consumers_max,
            ..Limits::default()
        }
    }
}

/// One entry of `users`: a text or a table.
struct UserEntry(UserTable);

/// A user as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserTable {
    name: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
    permissions: Option<Vec<PermissionEntry>>,
}

/// What a user may do in one virtual host; what is left out allows nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionEntry {
    vhost: String,
    #[serde(default)]
    configure: String,
    #[serde(default)]
    write: String,
    #[serde(default)]
    read: String,
}

impl UserTable {
    fn user(&self) -> Result<User, SettingsError> {
        let name = &self.name;
        let password = match (&self.password, &self.password_file) {
            (Some(password), None) => password.clone(),
            (None, Some(file)) => read_password(file).map_err(|source| SettingsError::PasswordFile {
                user: name.clone(),
                file: file.clone(),
                source,
            })?,
            _ => return Err(SettingsError::Password(name.clone())),
        };
        if password.is_empty() {
            return Err(SettingsError::Password(name.clone()));
        }
        let user = User::new(name.clone(), password);
        let Some(entries) = &self.permissions else { return Ok(user) };
        let permissions = entries.iter().map(|entry| {
            let permissions = Permissions::new(&entry.configure, &entry.write, &entry.read);
            let vhost = entry.vhost.clone();
            match permissions {
                Ok(permissions) => Ok((vhost, permissions)),
                Err(source) => Err(SettingsError::Pattern { user: name.clone(), vhost, source }),
            }
        });
        Ok(user.allowed(permissions.collect::<Result<Vec<_>, _>>()?))
    }
}

/// The password in a file, without the line break that editors leave at the end.
fn read_password(path: &Path) -> io::Result<String> {
    let mut password = String::new();
    File::open(path)?.take(PASSWORD_FILE_MAX_BYTES).read_to_string(&mut password)?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

impl<'de> Deserialize<'de> for UserEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

/// Takes a text or a table.
struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = UserEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user as NAME:PASSWORD or as a table with name and password")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<UserEntry, E> {
        // The text itself is not shown: it may hold a password.
        let misfit = || E::custom("broker.users: expected NAME:PASSWORD, got a text without a colon");
        let (name, password) = text.split_once(':').ok_or_else(misfit)?;
        let (name, password) = (name.to_owned(), Some(password.to_owned()));
        Ok(UserEntry(UserTable { name, password, password_file: None, permissions: None }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UserEntry, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(map)).map(UserEntry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosstalk_host::config::{Config, Sources};

    fn options(users: &str) -> Result<Options, String> {
        let flags = vec![format!("broker.users={users}"), "broker.vhosts=/,lab".to_owned()];
        let config = Config::load(&Sources { flags, ..Sources::default() }).map_err(|error| error.to_string())?;
        let settings: Settings = config.section("broker").map_err(|error| error.to_string())?;
        settings.options(Path::new("data")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_configuration_and_the_library_agree_on_who_may_log_in_by_default() {
        let options = options("guest:guest").unwrap();
        assert_eq!(options.users, Options::default().users);
    }

    #[test]
    fn a_table_gives_permissions_and_a_password_from_a_file() {
        let file = std::env::temp_dir().join(format!("crosstalk-password-{}", std::process::id()));
        std::fs::write(&file, "s3cret\n").unwrap();
        let ada = format!(
            "[{{name = 'ada', password_file = '{}', permissions = [{{vhost = 'lab', read = '^ada'}}]}}, 'bob:x:y']",
            file.display()
        );
        let options = options(&ada);
        std::fs::remove_file(&file).unwrap();
        let [ada, bob] = &options.unwrap().users[..] else { panic!("not two users") };
        assert!(ada.matches(b"ada", b"s3cret") && ada.permissions("/").is_none());
        let lab = ada.permissions("lab").unwrap();
        assert!(lab.allows_read("ada.q") && !lab.allows_write("ada.q") && !lab.allows_configure("ada.q"));
        assert!(bob.matches(b"bob", b"x:y") && bob.permissions("/").is_some());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (users, expected) in [
            ("ada", "expected NAME:PASSWORD, got a text without a colon"),
            ("ada:", "ada needs either a password or a password_file"),
            ("ada:s3cret,ada:other", "ada is there twice"),
            ("[{name = 'ada'}]", "ada needs either a password or a password_file"),
            ("[{name = 'ada', passwrd = 's3cret'}]", "unknown field `passwrd`"),
            (
                "[{name = 'ada', password_file = '/nowhere'}]",
                "the password of ada cannot be read from /nowhere: No such",
            ),
            (
                "[{name = 'ada', password = 's3cret', permissions = [{vhost = 'x'}]}]",
                "in the virtual host \"x\", which",
            ),
            (
                "[{name = 'ada', password = 's3cret', permissions = [{vhost = '/', read = 'a('}]}]",
                "ada in the virtual host \"/\": \"a(\" is no regular expression",
            ),
        ] {
            let error = options(users).unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{users}: {error}");
        }
    }
}
