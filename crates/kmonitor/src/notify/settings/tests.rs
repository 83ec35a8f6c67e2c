//! The section as users may write it, and every way in which it is refused.

use std::path::Path;

use crate::config;
use crate::state::State;

use super::*;

const SEED: &str = include_str!("../../../tests/seed.yaml");

const WEBHOOK: &str = "notifiers:\n webhooks:\n  hook:\n   url: http://127.0.0.1:1/x?secret=geheim\n";

fn parse(section: &str) -> Result<Settings, Vec<String>> {
    let parsed = config::parse(Path::new("kmonitor.yaml"), &format!("{SEED}{section}"));
    match parsed {
        Ok(config) => Ok(config.notifiers.unwrap()),
        Err(invalid) => Err(invalid.problems().iter().map(ToString::to_string).collect()),
    }
}

/// The only problem.
fn problem(section: &str) -> String {
    let mut problems = parse(section).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn a_receiver_is_enough_and_gets_everything() {
    let settings = parse(WEBHOOK).unwrap();
    assert!(settings.is_primary);
    assert_eq!((settings.attempts, settings.queue), (8, 100));
    let rule = &settings.rules.general;
    assert_eq!(rule.receivers, [0]);
    assert!(rule.states.contains(&State::Stopped) && !rule.states.contains(&State::Lagging));
    assert_eq!((rule.lag_records, rule.lag_seconds), (None, None));
    assert_eq!(rule.open, Hold { rounds: 2, ms: 0 });
    assert_eq!(rule.repeat_ms, Some(14_400_000));
    assert!(config::parse(Path::new("k"), SEED).unwrap().notifiers.is_none());
}

#[test]
fn clusters_and_modules_say_only_what_is_otherwise() {
    let settings = parse(&format!(
        "{WEBHOOK} mails:\n  ops:\n   server: 127.0.0.1:25\n   tls: none\n   from: k@example.com\n   to: [Ops <o@example.com>]\n \
         lag_records: 5\n receivers: [hook]\n clusters:\n  test_cluster:\n   lag_seconds: 60\n   modules:\n    m:\n     states: []\n     \
         lag_records: 0\n     receivers: [ops]\n"
    ))
    .unwrap();
    let names: Vec<&str> = settings.receivers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["hook", "ops"]);
    let rules = &settings.rules;
    let (general, cluster) = (
        rules.of("common_cluster", Some("m")),
        rules.of("test_cluster", Some("x")),
    );
    assert_eq!((general.lag_records, general.lag_seconds), (Some(5), None));
    assert_eq!((cluster.lag_records, cluster.lag_seconds), (Some(5), Some(60)));
    let module = rules.of("test_cluster", Some("m"));
    assert_eq!((module.lag_records, module.lag_seconds), (None, Some(60)));
    assert_eq!((module.states.len(), module.receivers.as_slice()), (0, &[1][..]));
}

#[test]
fn problems_are_told_at_their_keys() {
    for (section, key, what) in [
        ("notifiers:\n primary: true\n", "notifiers:", "names nobody"),
        (
            &*format!("{WEBHOOK} states: [stoped]\n"),
            "notifiers.states",
            "\"stoped\"; allowed: lagging",
        ),
        (
            &*format!("{WEBHOOK} receivers: [hok]\n"),
            "notifiers.receivers",
            "neither below webhooks",
        ),
        (
            &*format!("{WEBHOOK} clusters:\n  other:\n   lag_records: 1\n"),
            "notifiers.clusters.other",
            "no cluster of base.clusters",
        ),
        (
            &*format!("{WEBHOOK}   body: '{{{{titel}}}}'\n"),
            "webhooks.hook.body",
            "unknown name {{titel}}",
        ),
        (
            &*format!("{WEBHOOK}   url_file: /x\n"),
            "webhooks.hook",
            "either url or url_file",
        ),
        (
            &*format!("{WEBHOOK}   token_file: /no/such\n"),
            "webhooks.hook.token_file",
            "cannot be read",
        ),
        (
            &*format!("{WEBHOOK}   token_env: KMONITOR_NO_SUCH\n"),
            "webhooks.hook.token_env",
            "not set for this process",
        ),
        (
            "notifiers:\n webhooks:\n  hook:\n   url: ftp://x/\n",
            "webhooks.hook.url",
            "http:// or https://",
        ),
    ] {
        let found = problem(section);
        assert!(found.contains(key) && found.contains(what), "{found}");
    }
}

#[test]
fn mails_need_addresses_and_an_encrypted_way_for_a_password() {
    let mail = "notifiers:\n mails:\n  ops:\n   server: 127.0.0.1:25\n   from: k@example.com\n   to: [o@example.com]\n   tls: none\n";
    assert!(parse(mail).is_ok());
    assert!(problem(&mail.replace("k@example.com", "nobody")).contains("mails.ops.from"));
    assert!(problem(&mail.replace("[o@example.com]", "[o@example.com, x]")).contains("mails.ops.to.1"));
    assert!(problem(&mail.replace("127.0.0.1:25", "127.0.0.1")).contains("has no port"));
    assert!(problem(&format!("{mail}   username: u\n")).contains("needs username with"));
    let password = std::env::temp_dir().join(format!("kmonitor-mail-{}", std::process::id()));
    std::fs::write(&password, "geheim\n").unwrap();
    let account = format!("{mail}   username: u\n   password_file: {}\n", password.display());
    let clear = problem(&account);
    assert!(
        clear.contains("in the clear") && !clear.contains("geheim"),
        "{clear}"
    );
    std::fs::remove_file(&password).unwrap();
}

#[test]
fn secrets_are_in_no_debug_output() {
    let token = std::env::temp_dir().join(format!("kmonitor-token-{}", std::process::id()));
    std::fs::write(&token, "geheim-token\n").unwrap();
    let settings = parse(&format!("{WEBHOOK}   token_file: {}\n", token.display())).unwrap();
    std::fs::remove_file(&token).unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("geheim"), "{shown}");
}
