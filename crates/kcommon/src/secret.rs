//! A text that is read from a file or from the environment and never shown.

use std::fmt;
use std::path::Path;

/// A password, a token or a secret address. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A text that was written in the file itself.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The content of a file without white space around it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn in_file(path: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(Path::new(path))
            .map_err(|error| format!("names {path}, which cannot be read: {error}"))?;
        Self::checked(&text).ok_or_else(|| format!("names {path}, which holds no single line of text"))
    }

    /// The content of a variable of the environment without white space around it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn in_variable(name: &str) -> Result<Self, String> {
        let text = std::env::var(name)
            .map_err(|_absent| format!("names the variable {name}, which is not set for this process"))?;
        Self::checked(&text)
            .ok_or_else(|| format!("names the variable {name}, which holds no single line of text"))
    }

    fn checked(text: &str) -> Option<Self> {
        let text = text.trim();
        let usable = !text.is_empty() && !text.chars().any(char::is_control);
        usable.then(|| Self(text.to_owned()))
    }

    /// The text, for the one who needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_and_is_not_shown() {
        let dir = std::env::temp_dir();
        let path = dir.join(format!("kcommon-secret-{}", std::process::id()));
        std::fs::write(&path, " pass word\n").unwrap();
        let secret = Secret::in_file(path.to_str().unwrap()).unwrap();
        assert_eq!(secret.reveal(), "pass word");
        assert_eq!(format!("{secret:?}"), "a secret");
        for unusable in ["", " \n", "a\nb"] {
            std::fs::write(&path, unusable).unwrap();
            let why = Secret::in_file(path.to_str().unwrap()).unwrap_err();
            assert!(why.contains("no single line"), "{why}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(
            Secret::in_file(path.to_str().unwrap())
                .unwrap_err()
                .contains("cannot be read")
        );
        assert!(
            Secret::in_variable("KCOMMON_NO_SUCH")
                .unwrap_err()
                .contains("is not set")
        );
    }
}
