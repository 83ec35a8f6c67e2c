//! `ktransfer ctl`: what the admin server of a running instance tells, as tables, and what it does when an operator asks.

mod http;
mod table;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use kcommon::cli::Program;
use kcommon::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::supervisor::operate::{Detail, Moved, Partition, Summary, To};
use http::Server;
use table::Table;

/// The program, as the command line calls it.
pub const PROGRAM: Program = Program {
    word: "ctl",
    about: "Talk to a running instance: list, show, seek, reload",
    run,
};

#[derive(Debug, Parser)]
#[command(
    name = "ktransfer ctl",
    about = "Talk to the admin server of a running instance"
)]
struct Line {
    /// The admin server.
    #[arg(
        long,
        global = true,
        env = "KTRANSFER_ADMIN",
        default_value = "127.0.0.1:5032",
        value_name = "HOST:PORT"
    )]
    admin: String,
    /// File with the token of `admin.token_file`, for what changes anything.
    #[arg(long, global = true, env = "KTRANSFER_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the answer as JSON, as the server gave it.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All modules of the instance.
    List,
    /// A module with its partitions, those of other instances too.
    Show {
        /// The module.
        module: String,
    },
    /// Let a partition, or all of them, go on elsewhere, on whichever instance owns them.
    Seek(Seek),
    /// Read the configuration again at once.
    Reload,
}

#[derive(Debug, Args)]
struct Seek {
    /// The module.
    module: String,
    /// The partition; without it, all of them need `--all`.
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    partition: Option<i32>,
    /// Every partition.
    #[arg(long)]
    all: bool,
    /// `earliest`, `latest`, an offset, or `time:MILLISECONDS` since 1970.
    #[arg(long, value_parser = to)]
    to: To,
}

fn to(text: &str) -> Result<To, String> {
    let number = |digits: &str| digits.parse::<i64>().ok().filter(|number| *number >= 0);
    let found = match (text, text.strip_prefix("time:")) {
        ("earliest", _) => Some(To::Earliest),
        ("latest", _) => Some(To::Latest),
        (_, Some(time)) => number(time).map(To::TimeMs),
        (offset, None) => number(offset).map(To::Offset),
    };
    found.ok_or_else(|| "allowed: earliest, latest, an offset such as 1234, or time:1700000000000".to_owned())
}

fn run(rest: Vec<OsString>) -> Result<(), String> {
    let words = std::iter::once(OsString::from("ktransfer ctl")).chain(rest);
    let line = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(usage) if usage.use_stderr() => return Err(usage.to_string()),
        Err(help) => return print(&help.to_string()),
    };
    let token = line
        .token_file
        .as_ref()
        .map(|path| Secret::in_file(&path.display().to_string()));
    let server = Server {
        address: line.admin,
        token: token
            .transpose()
            .map_err(|error| format!("--token-file {error}"))?,
    };
    let answer = ask(&server, &line.what)?;
    if line.json {
        return print(&format!("{answer}\n"));
    }
    let shown = match &line.what {
        What::List => read(answer).map(|modules: Vec<Summary>| list(&modules)),
        What::Show { .. } => read(answer).map(|detail: Detail| show(&detail)),
        What::Seek(_) => read(answer).map(|answer: MovedAll| moved(&answer.moved)),
        What::Reload => Ok(reloaded(&answer)),
    };
    print(&shown?)
}

fn ask(server: &Server, what: &What) -> Result<Value, String> {
    match what {
        What::List => server.get("/modules"),
        What::Show { module } => server.get(&format!("/modules/{}", http::segment(module))),
        What::Reload => server.post("/reload", &Value::Null),
        What::Seek(seek) => {
            let body = json!({ "partition": seek.partition, "to": seek.to });
            server.post(&format!("/modules/{}/seek", http::segment(&seek.module)), &body)
        }
    }
}

/// The answer to a seek.
#[derive(Deserialize)]
struct MovedAll {
    moved: Vec<Moved>,
}

fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, String> {
    serde_json::from_value(answer)
        .map_err(|error| format!("the server's answer is of another version: {error}"))
}

fn list(modules: &[Summary]) -> String {
    let mut table = Table::new(&["MODULE", "RUNS", "TOPIC", "CLUSTER", "NOT WELL BECAUSE"]);
    for module in modules {
        table.row([
            module.module.clone(),
            if module.running { "yes" } else { "no" }.to_owned(),
            or_dash(module.topic.as_ref()),
            or_dash(module.cluster.as_ref()),
            or_dash(module.reasons.first()),
        ]);
    }
    table.text()
}

fn show(detail: &Detail) -> String {
    let mut text = list(std::slice::from_ref(&detail.summary));
    for reason in detail.summary.reasons.iter().skip(1) {
        // Writing into a text cannot fail.
        let _infallible = writeln!(text, "  {reason}");
    }
    let _infallible = writeln!(text, "\ninstances: {}\n", detail.members.join(", "));
    let names = [
        "PARTITION",
        "STORED",
        "LAG",
        "OWNER",
        "STATE",
        "WINDOW",
        "IN FLIGHT",
        "OLDEST",
        "FAILED",
        "LAST",
    ];
    let mut table = Table::new(&names);
    for partition in &detail.partitions {
        table.row(row(partition));
    }
    text + &table.text()
}

fn row(partition: &Partition) -> [String; 10] {
    let standing = partition.standing.as_ref();
    let oldest = standing.and_then(|standing| standing.oldest.as_ref());
    let state = match (standing, &partition.owner) {
        (Some(standing), _) => standing.stopped.clone().unwrap_or_else(|| standing.phase.clone()),
        (None, Some(_)) => "elsewhere".to_owned(),
        (None, None) => "nobody's".to_owned(),
    };
    [
        partition.partition.to_string(),
        or_dash(partition.stored.as_ref()),
        or_dash(partition.lag.as_ref()),
        or_dash(partition.owner.as_ref()),
        state,
        or_dash(standing.map(|standing| standing.uncommitted).as_ref()),
        or_dash(standing.map(|standing| standing.in_flight).as_ref()),
        or_dash(oldest.map(|oldest| oldest.offset).as_ref()),
        or_dash(oldest.map(|oldest| oldest.failed_attempts).as_ref()),
        or_dash(oldest.and_then(|oldest| oldest.last_status).as_ref()),
    ]
}

fn moved(moved: &[Moved]) -> String {
    let mut table = Table::new(&["PARTITION", "FROM", "TO", "ADOPTED WITHIN 5 s BY"]);
    for done in moved {
        let owner = done.owner.clone();
        table.row([
            done.partition.to_string(),
            done.from.clone(),
            done.to.to_string(),
            owner.unwrap_or_else(|| "whoever claims it".to_owned()),
        ]);
    }
    table.text()
}

fn reloaded(answer: &Value) -> String {
    let mut text = String::new();
    for key in [
        "added",
        "removed",
        "changed",
        "refused",
        "main_refused",
        "needs_restart",
    ] {
        for one in answer[key].as_array().into_iter().flatten() {
            let told = one.as_str().map_or_else(|| one.to_string(), str::to_owned);
            let _infallible = writeln!(text, "{key}: {told}");
        }
    }
    let _infallible = writeln!(text, "unchanged: {}", answer["unchanged"]);
    text
}

fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), T::to_string)
}

fn print(text: &str) -> Result<(), String> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| format!("standard output cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_seek_is_read_from_words_and_numbers() {
        assert_eq!(to("earliest"), Ok(To::Earliest));
        assert_eq!(to("1234"), Ok(To::Offset(1234)));
        assert_eq!(to("time:5"), Ok(To::TimeMs(5)));
        for wrong in ["-1", "oldest", "time:", "time:x", ""] {
            assert!(to(wrong).unwrap_err().contains("allowed"), "{wrong}");
        }
    }

    #[test]
    fn all_partitions_are_moved_only_when_that_is_said() {
        let parse =
            |words: &[&str]| Line::try_parse_from([&["ctl", "seek", "m", "--to", "latest"], words].concat());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--all", "--partition", "1"]).is_err());
        assert!(parse(&["--all"]).is_ok() && parse(&["--partition", "1"]).is_ok());
    }
}
