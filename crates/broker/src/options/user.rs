//! Someone who may log in: name, password, and what is allowed in each virtual host.
//!
//! Does not know how a password reaches the broker, neither from a client nor from the owner's files.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::permission::Permissions;

/// Someone who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    password: String,
    /// By virtual host; `None` allows everything everywhere.
    permissions: Option<BTreeMap<String, Arc<Permissions>>>,
}

impl User {
    /// A user with a password, who may do everything in every virtual host until [`Self::allowed`] says otherwise. Who
    /// has an empty password cannot log in, as in RabbitMQ.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { name: name.into(), password: password.into(), permissions: None }
    }

    /// The same user with these permissions by virtual host, and no access to any other.
    #[must_use]
    pub fn allowed(mut self, permissions: impl IntoIterator<Item = (String, Permissions)>) -> Self {
        let shared = permissions.into_iter().map(|(vhost, permissions)| (vhost, Arc::new(permissions)));
        self.permissions = Some(shared.collect());
        self
    }

    /// `guest`/`guest`, which every client tries first.
    pub fn default_user() -> Self {
        Self::new("guest", "guest")
    }

    /// The name, which also appears in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the user may do in a virtual host; `None` is no access to it.
    pub fn permissions(&self, vhost: &str) -> Option<Arc<Permissions>> {
        match &self.permissions {
            None => Some(Arc::default()),
            Some(by_vhost) => by_vhost.get(vhost).cloned(),
        }
    }

    /// Virtual hosts that permissions speak of.
    pub(crate) fn vhosts(&self) -> impl Iterator<Item = &str> {
        self.permissions.iter().flat_map(|by_vhost| by_vhost.keys().map(String::as_str))
    }

    /// Whether everyone knows these credentials.
    pub(crate) fn has_default_credentials(&self) -> bool {
        self.name == "guest" && self.password == "guest"
    }

    /// Whether name and password are these; takes the same time wherever they differ.
    pub(crate) fn matches(&self, name: &[u8], password: &[u8]) -> bool {
        let same = same_bytes(self.name.as_bytes(), name) & same_bytes(self.password.as_bytes(), password);
        same & !self.password.is_empty()
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("permissions", &self.permissions).finish_non_exhaustive()
    }
}

fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |seen, (a, b)| seen | (a ^ b));
    (left.len() == right.len()) & (differences == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_password() {
        let text = format!("{:?}", User::new("ada", "s3cret"));
        assert!(text.contains("ada") && !text.contains("s3cret"));
    }

    #[test]
    fn credentials_match_as_a_whole() {
        let user = User::new("ada", "s3cret");
        assert!(user.matches(b"ada", b"s3cret"));
        assert!(!user.matches(b"ada", b"s3cre") && !user.matches(b"adb", b"s3cret") && !user.matches(b"", b""));
        assert!(!User::new("ada", "").matches(b"ada", b""));
    }

    #[test]
    fn permissions_name_the_only_virtual_hosts_there_is_access_to() {
        let ada = User::new("ada", "s3cret");
        assert!(ada.permissions("anywhere").is_some_and(|all| all.allows_configure("q")));
        let ada = ada.allowed([("lab".to_owned(), Permissions::new("", "", ".*").unwrap())]);
        assert!(ada.permissions("/").is_none());
        assert!(ada.permissions("lab").is_some_and(|some| some.allows_read("q") && !some.allows_write("q")));
    }
}
