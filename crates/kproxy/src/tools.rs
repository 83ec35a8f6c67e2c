//! The tools of the binary: what a credentials file keeps is made here, and nothing of it is stored.

use std::io::{Read as _, Write as _};

use kcommon::cli::Tool;

use crate::access::{password, token};

/// The longest password that is read, in bytes.
const LONGEST_PASSWORD: u64 = 4096;

/// The tools, as the command line calls them.
pub const TOOLS: [Tool; 2] = [
    Tool {
        words: ["token", "new"],
        about: "Make a bearer token, and the line that a credentials file keeps of it",
        run: new_token,
    },
    Tool {
        words: ["password", "hash"],
        about: "Read a password from standard input, and print the hash that a credentials file keeps of it",
        run: hash_password,
    },
];

fn new_token() -> Result<(), String> {
    let fresh = token::fresh().map_err(|_unspecified| "the system gives no random bytes".to_owned())?;
    print(&format!(
        "token, for the client; it is not shown again:\n{}\n\nfor tokens of its principal in the credentials file:\n{}\n",
        fresh.token, fresh.kept
    ))
}

fn hash_password() -> Result<(), String> {
    let mut password = Vec::new();
    let read = std::io::stdin()
        .take(LONGEST_PASSWORD + 1)
        .read_to_end(&mut password);
    read.map_err(|error| format!("standard input cannot be read: {error}"))?;
    if password.len() as u64 > LONGEST_PASSWORD {
        return Err(format!("the password has more than {LONGEST_PASSWORD} bytes"));
    }
    let password = password.strip_suffix(b"\n").unwrap_or(&password);
    if password.is_empty() {
        return Err(
            "standard input has no password; write it there, such as: kproxy password hash < FILE".to_owned(),
        );
    }
    let hash = password::hash(password).map_err(|error| format!("no hash: {error}"))?;
    print(&format!("{hash}\n"))
}

fn print(text: &str) -> Result<(), String> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| format!("standard output cannot be written: {error}"))
}
