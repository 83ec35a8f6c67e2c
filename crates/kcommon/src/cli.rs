//! The command line of every daemon: `-f FILE`, `--check`, `--version`, `--help`, and the tools of its binary.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

/// A command of a daemon's binary that does its work and ends.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The two words that call it, such as `token new`.
    pub words: [&'static str; 2],
    /// One sentence for `--help`.
    pub about: &'static str,
    /// Does the work. An error is told to the person and ends with status 1.
    pub run: fn() -> Result<(), String>,
}

/// A word that calls a program of its own inside the binary, which reads the rest of the command line itself.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The word.
    pub word: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// Runs it with what follows the word. An error is told to the person and ends with status 1.
    pub run: fn(Vec<OsString>) -> Result<(), String>,
}

/// What a daemon's binary is: its name, its version, one sentence about it, and its tools.
#[derive(Clone, Copy, Debug)]
pub struct Binary {
    /// Its name, also that of its configuration file.
    pub name: &'static str,
    /// What `--version` says.
    pub version: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// Its tools.
    pub tools: &'static [Tool],
    /// Its programs.
    pub programs: &'static [Program],
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Asked<'t, A> {
    /// The daemon itself.
    Daemon(A),
    /// One of its tools.
    Tool(&'t Tool),
    /// One of its programs, and what it is to read.
    Program(&'t Program, Vec<OsString>),
}

/// How the daemon is asked for.
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
    binary: &Binary,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Asked<'static, Args>, clap::Error> {
    let default = format!("./conf/{}.yaml", binary.name);
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
    let tools = binary.tools.iter().map(|tool| {
        let [first, second] = tool.words;
        let command = Command::new(second).about(tool.about);
        Command::new(first)
            .about(tool.about)
            .subcommand_required(true)
            .subcommand(command)
    });
    let programs = binary.programs.iter().map(|program| {
        let rest = Arg::new("rest")
            .action(ArgAction::Append)
            .value_parser(value_parser!(OsString))
            .allow_hyphen_values(true)
            .trailing_var_arg(true);
        Command::new(program.word)
            .about(program.about)
            .disable_help_flag(true)
            .arg(rest)
    });
    let command = Command::new(binary.name)
        .version(binary.version)
        .about(binary.about)
        .args_conflicts_with_subcommands(true)
        .subcommands(tools)
        .subcommands(programs)
        .arg(file)
        .arg(check);
    let mut matches = command.try_get_matches_from(args)?;
    if let Some((word, _)) = matches.subcommand()
        && let Some(tool) = binary.tools.iter().find(|tool| tool.words[0] == word)
    {
        return Ok(Asked::Tool(tool));
    }
    if let Some((word, rest)) = matches.subcommand()
        && let Some(program) = binary.programs.iter().find(|program| program.word == word)
    {
        let rest = rest.get_many("rest").unwrap_or_default();
        return Ok(Asked::Program(program, rest.cloned().collect()));
    }
    Ok(Asked::Daemon(Args {
        file: matches
            .remove_one("file")
            .unwrap_or_else(|| PathBuf::from(default)),
        check: matches.get_flag("check"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: Binary = Binary {
        name: "kproxy",
        version: "1.2.3",
        about: "about",
        tools: &[Tool {
            words: ["token", "new"],
            about: "Makes a token",
            run: || Ok(()),
        }],
        programs: &[Program {
            word: "ctl",
            about: "Talks to a daemon",
            run: |_rest| Ok(()),
        }],
    };

    fn asked(words: &[&str]) -> Result<Asked<'static, Args>, clap::Error> {
        parse(&BINARY, words.iter().map(OsString::from))
    }

    fn args(words: &[&str]) -> Args {
        match asked(words).unwrap() {
            Asked::Daemon(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_default_file_is_in_conf() {
        let expected = Args {
            file: PathBuf::from("./conf/kproxy.yaml"),
            check: false,
        };
        assert_eq!(args(&["kproxy"]), expected);
    }

    #[test]
    fn a_file_and_a_check_are_read() {
        let expected = Args {
            file: PathBuf::from("x.yaml"),
            check: true,
        };
        assert_eq!(args(&["kproxy", "-f", "x.yaml", "--check"]), expected);
    }

    #[test]
    fn a_tool_is_asked_for_by_two_words_and_nothing_else() {
        assert!(
            matches!(asked(&["kproxy", "token", "new"]), Ok(Asked::Tool(tool)) if tool.words[0] == "token")
        );
        for words in [
            &["kproxy", "token"][..],
            &["kproxy", "token", "old"],
            &["kproxy", "--check", "token", "new"],
            &["kproxy", "token", "new", "x"],
        ] {
            assert_eq!(asked(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn a_wrong_word_is_a_usage_error_and_the_version_is_not() {
        assert_eq!(asked(&["kproxy", "--chekc"]).unwrap_err().exit_code(), 2);
        assert_eq!(asked(&["kproxy", "--version"]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn a_program_reads_the_rest_of_the_line_itself() {
        let Asked::Program(program, rest) =
            asked(&["kproxy", "ctl", "list", "--url", "x", "--help"]).unwrap()
        else {
            panic!("a program")
        };
        assert_eq!(program.word, "ctl");
        assert_eq!(rest, ["list", "--url", "x", "--help"]);
    }
}
