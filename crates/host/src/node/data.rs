//! Where a node keeps files when nobody says where. It does not know what they are.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::NodeSpec;

/// For a process without a home directory, such as a system service: where the file system hierarchy standard
/// (5.8) puts what programs keep.
const WITHOUT_HOME: &str = "/var/lib";

/// A directory for a node that nobody gave one: for a lasting node in the platform's place for a user's data, for
/// another one in the system's for temporary files.
pub(super) fn default_directory(spec: &NodeSpec) -> PathBuf {
    let place = if spec.lasting {
        let variable = |name| env::var_os(name).map(PathBuf::from);
        lasting(variable("XDG_DATA_HOME"), variable("HOME"), cfg!(target_os = "macos"))
    } else {
        env::temp_dir()
    };
    place.join("crosstalk").join(spec.name)
}

/// Where that is, and why there, for people.
pub(super) fn described(spec: &NodeSpec) -> String {
    let here = default_directory(spec);
    let rule = match (spec.lasting, cfg!(target_os = "macos")) {
        (false, _) => "in the system's directory for temporary files".to_owned(),
        (true, true) => format!("in ~/Library/Application Support; without a HOME in {WITHOUT_HOME}"),
        (true, false) => {
            format!("in XDG_DATA_HOME, which is ~/.local/share unless set; without a HOME in {WITHOUT_HOME}")
        }
    };
    format!("crosstalk/{} {rule}; here {}", spec.name, here.display())
}

/// The XDG base directory specification where it is followed, Apple's file system guide on macOS. Relative paths are
/// ignored, as the former demands; `/` is the home of who has none.
fn lasting(xdg_data_home: Option<PathBuf>, home: Option<PathBuf>, macos: bool) -> PathBuf {
    let home = home.filter(|home| home.is_absolute() && home != Path::new("/"));
    match (xdg_data_home.filter(|path| path.is_absolute()), home) {
        (Some(given), _) => given,
        (None, Some(home)) if macos => home.join("Library/Application Support"),
        (None, Some(home)) => home.join(".local/share"),
        (None, None) => WITHOUT_HOME.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_where_the_platform_keeps_a_users_data() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(lasting(path("/data"), path("/home/ada"), false), Path::new("/data"));
        assert_eq!(lasting(path("relative"), path("/home/ada"), false), Path::new("/home/ada/.local/share"));
        assert_eq!(lasting(None, path("/Users/ada"), true), Path::new("/Users/ada/Library/Application Support"));
        for homeless in [None, path("/"), path("")] {
            assert_eq!(lasting(None, homeless, false), Path::new("/var/lib"));
        }
    }
}
