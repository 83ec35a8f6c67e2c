//! The command line of every daemon: `-f FILE`, `--check`, `--version`, `--help`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// The main configuration file, relative to the working directory.
    pub file: PathBuf,
    /// Only check the configuration.
    pub check: bool,
}

/// Reads the command line. Without `-f` the file is `./conf/<name>.yaml`.
///
/// # Errors
/// A wrong command line, or a request for the help or the version: `clap`'s error prints itself and knows its stream.
pub fn parse(
    name: &'static str,
    version: &'static str,
    about: &'static str,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Args, clap::Error> {
    let default = format!("./conf/{name}.yaml");
    let file = Arg::new("file")
        .short('f')
        .long("file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(format!(
            "Configuration file, relative to the working directory [default: {default}]"
        ));
    let check = Arg::new("check")
        .long("check")
        .action(ArgAction::SetTrue)
        .help("Check the configuration, report every problem, and exit (0 = right, 78 = wrong)");
    let command = Command::new(name)
        .version(version)
        .about(about)
        .arg(file)
        .arg(check);
    let mut matches = command.try_get_matches_from(args)?;
    Ok(Args {
        file: matches
            .remove_one("file")
            .unwrap_or_else(|| PathBuf::from(default)),
        check: matches.get_flag("check"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Result<Args, clap::Error> {
        parse("kproxy", "1.2.3", "about", words.iter().map(OsString::from))
    }

    #[test]
    fn the_default_file_is_in_conf() {
        let read = args(&["kproxy"]).unwrap();
        assert_eq!(
            read,
            Args {
                file: PathBuf::from("./conf/kproxy.yaml"),
                check: false
            }
        );
    }

    #[test]
    fn a_file_and_a_check_are_read() {
        let read = args(&["kproxy", "-f", "x.yaml", "--check"]).unwrap();
        assert_eq!(
            read,
            Args {
                file: PathBuf::from("x.yaml"),
                check: true
            }
        );
    }

    #[test]
    fn a_wrong_word_is_a_usage_error_and_the_version_is_not() {
        assert_eq!(args(&["kproxy", "--chekc"]).unwrap_err().exit_code(), 2);
        assert_eq!(args(&["kproxy", "--version"]).unwrap_err().exit_code(), 0);
    }
}
