//! The files as a user writes them: the original's examples, the files in `conf/`, and each wrong value.

use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

use kcommon::admin::Listen;
use kcommon::kafka::TopicName;
use tempfile::TempDir;

use super::*;
use crate::content::{OnError, tests::subject};
use crate::dispatcher::StalledKey;
use crate::key::OrderBy;
use crate::letters::{LastResort, LogSettings};
use crate::methods::MethodCheck;
use crate::pace::Limits;
use crate::range::{OutOfRange, Resort};
use crate::retry::RetryPolicy;
use crate::uri::UriTemplate;
use crate::verdict::{Condition, Statuses};

/// The original's example, all keys and values as they are.
const SEED_MAIN: &str = "
log_dir: ./log
log_level: 4
zk_chroot: /mq/test_cluster
zk_timeout_ms: 3000
zk_hosts:
 - 10.1.1.1:2181
 - 10.1.1.2:2181
 - 10.1.1.3:2181
 - 10.1.1.4:2181
 - 10.1.1.5:2181
module_conf_dir: ./conf/modules
module_enabled:
 - test_mdoule_1
 - test_module_2
";

/// The original's example, all keys and values as they are.
const SEED_MODULE: &str = "
topic: test_topic
methods:
 - TestUserName
 - TestReply
protocol:
 name: http
 uri: /XXX/{#TOPIC}?key={#KEY}&transid={#TRANSID}&format=msgpack
 headers:
  - Host: www.myhug.cn
 read_timeout_ms: 0    # none
 write_timeout_ms: 100
 conn_timeout_ms: 100
worker_num: 100
window_size: 200
max_retry_times: -1
fail_retry_interval_ms: 200
backend_servers:
 - 10.1.2.1:80
 - 10.1.2.2:80
 - 10.1.2.3:80
 - 10.1.2.4:80
";

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../conf")
        .join(name)
}

fn module(text: &str) -> Result<Module, Invalid> {
    parse_module(Path::new("m.yaml"), "m", text)
}

/// A directory with a main file of these modules, and files for some of them.
fn directory(enabled: &str, files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let main = SEED_MAIN.split("module_conf_dir").next().unwrap();
    let main = format!(
        "{main}module_conf_dir: {}\nmodule_enabled: {enabled}\n",
        directory.path().display()
    );
    fs::write(directory.path().join("ktransfer.yaml"), main).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn load_from(directory: &TempDir) -> Result<Main, Invalid> {
    load(&directory.path().join("ktransfer.yaml"))
}

#[test]
fn the_originals_main_file_is_read() {
    let document: Document<MainFile> =
        config::parse(Path::new("ktransfer.yaml"), SEED_MAIN, &MAIN_SCHEMA).unwrap();
    let file = document.file;
    let hosts = file.cluster.zk_hosts.unwrap();
    assert_eq!(hosts.len(), 5);
    assert_eq!(hosts[0].to_string(), "10.1.1.1:2181");
    assert_eq!(
        (file.cluster.zk_chroot.as_str(), file.zk_timeout_ms),
        ("/mq/test_cluster", 3000)
    );
    let listed = ["test_mdoule_1", "test_module_2"].map(str::to_owned);
    assert_eq!(file.module_enabled, Wanted::Listed(listed.into()));
    assert!(file.cluster.broker_hosts.is_none() && file.admin.is_none());
}

#[test]
fn the_originals_module_file_is_read() {
    let module = module(SEED_MODULE).unwrap();
    assert_eq!((module.name.as_str(), module.topic.as_str()), ("m", "test_topic"));
    let filter = module.methods.unwrap();
    assert_eq!(
        filter.check(b"\x81\xa6method\xa9TestReply"),
        MethodCheck::Matched("TestReply")
    );
    let uri = "/XXX/{#TOPIC}?key={#KEY}&transid={#TRANSID}&format=msgpack";
    assert_eq!(module.uri, UriTemplate::parse(uri).unwrap());
    assert_eq!(module.host.unwrap(), "www.myhug.cn");
    assert!(module.headers.is_empty());
    let limit = Some(Duration::from_millis(100));
    assert_eq!(
        (module.read_timeout, module.write_timeout, module.connect_timeout),
        (None, limit, limit)
    );
    assert_eq!((module.worker_num.get(), module.window_size.get()), (100, 200));
    assert_eq!(module.retry, RetryPolicy::fixed(None, Duration::from_millis(200)));
    assert_eq!(module.backend_servers.len(), 4);
}

#[test]
fn what_a_module_file_leaves_out_has_its_default() {
    let module = module(SEED_MODULE).unwrap();
    assert_eq!(module.order, OrderBy::Key);
    let out_of_range = OutOfRange {
        below: Resort::Earliest,
        above: Resort::Stop,
        after: Duration::ZERO,
    };
    assert_eq!(module.out_of_range, out_of_range);
    assert_eq!(module.on_undecodable, OnUndecodable::Skip);
    assert_eq!(module.content, None);
    assert_eq!(module.initial_offset, InitialOffset::Earliest);
    assert_eq!(module.max_uncommitted, NonZeroUsize::new(100_000).unwrap());
    assert_eq!(module.max_response_bytes, 1024 * 1024);
    assert_eq!(module.commit_interval, Duration::from_secs(10));
    assert_eq!(module.drain_timeout, Duration::from_secs(10));
    assert_eq!(module.rules.success, Statuses::parse(["200-299"]).unwrap());
    assert!(module.rules.rejected.is_empty() && module.rules.body.is_none());
}

#[test]
fn every_key_of_the_original_is_known() {
    let more = "serialize_by_key: no\nexpected_processing_time_ms: 50\nzk_offset_update_interval_sec: 1\n\
                waiting_queue_size: 0\n";
    let module = module(&format!("{SEED_MODULE}{more}")).unwrap();
    assert_eq!(module.order, OrderBy::Nothing);
    assert_eq!(module.commit_interval, Duration::from_secs(1));
    let main = format!("{SEED_MAIN}zk_fail_retry_interval_ms: 1000\nbroker_hosts: [a:9092]\n");
    let document: Document<MainFile> = config::parse(Path::new("k.yaml"), &main, &MAIN_SCHEMA).unwrap();
    assert_eq!(document.file.cluster.broker_hosts.unwrap().len(), 1);
}

#[test]
fn every_key_that_the_original_requires_is_required() {
    for key in ["log_dir", "log_level", "module_conf_dir", "module_enabled"] {
        let text = SEED_MAIN.replace(&format!("{key}:"), &format!("x_{key}:"));
        let read = config::parse::<MainFile>(Path::new("k.yaml"), &text, &MAIN_SCHEMA);
        let message = read.unwrap_err().to_string();
        assert!(message.contains(&format!("{key}: is missing")), "{message}");
    }
    for key in [
        "topic",
        "protocol",
        "name",
        "uri",
        "read_timeout_ms",
        "write_timeout_ms",
        "conn_timeout_ms",
        "worker_num",
        "window_size",
        "max_retry_times",
        "fail_retry_interval_ms",
        "backend_servers",
    ] {
        let text = SEED_MODULE.replace(&format!("{key}:"), &format!("x_{key}:"));
        let message = module(&text).unwrap_err().to_string();
        assert!(message.contains(&format!("{key}: is missing")), "{message}");
    }
}

/// A key of the example with a wrong value, and what the message must hold.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "name: http",
        "name: http\n header_prefix: 'X Kafka'",
        "protocol.header_prefix: cannot begin the name of an HTTP header",
    ),
    (
        "worker_num:",
        "balance: {policy: fastest}\nworker_num:",
        "balance.policy: is \"fastest\"; allowed: turns, least_in_flight",
    ),
    (
        "worker_num:",
        "balance:\n weights:\n  10.1.2.9:80: 2\nworker_num:",
        "m.yaml:16:3: balance.weights.10.1.2.9:80: is none of backend_servers",
    ),
    (
        "worker_num:",
        "balance: {weights: {'10.1.2.1:80': 0}}\nworker_num:",
        "balance.weights.10.1.2.1:80: is 0; allowed: a whole number from 1 to 1000",
    ),
    (
        "worker_num:",
        "balance: {set_aside_ms: 100, set_aside_max_ms: 50}\nworker_num:",
        "balance.set_aside_max_ms: is shorter than balance.set_aside_ms",
    ),
    (
        "name: http",
        "name: http\n form: forms",
        "protocol.form: is \"forms\"; allowed: raw, form, envelope, cloudevents_binary, cloudevents_structured",
    ),
    (
        "name: http",
        "name: http\n method: GET",
        "protocol.method: is \"GET\"; allowed: POST, PUT, PATCH",
    ),
    (
        "name: http",
        "name: http\n id_header: a b",
        "protocol.id_header: is no name of an HTTP header",
    ),
    (
        "name: http",
        "name: http\n age_header: Content-Length",
        "protocol.age_header: names a header that follows from the request",
    ),
    (
        "Host: www.myhug.cn",
        "content-type: text/plain\n form: envelope",
        "protocol.headers: has a Content-Type, which follows from protocol.form",
    ),
    (
        "name: http",
        "name: http\n auth: {bearer: {env: KTRANSFER_NO_SUCH}}",
        "protocol.auth.bearer: names the variable KTRANSFER_NO_SUCH, which is not set",
    ),
    (
        "name: http",
        "name: http\n auth:\n  bearer: sesame",
        "m.yaml:9:11: protocol.auth.bearer: does not say where the secret stands; allowed: {file: path} or {env: NAME}",
    ),
    (
        "name: http",
        "name: http\n auth: {basic: {user: 'a:b', password: {env: PATH}}}",
        "protocol.auth.basic.user: has a colon",
    ),
    (
        "name: http",
        "name: http\n auth: {signature: {key: {file: /no/such/file}}}",
        "protocol.auth.signature.key: names /no/such/file, which cannot be read",
    ),
    (
        "name: http",
        "name: http\n tls: {}",
        "m.yaml:8:2: protocol.tls: says nothing with protocol.name: http",
    ),
    (
        "name: http",
        "name: https\n tls: {key: k.pem}",
        "m.yaml:8:8: protocol.tls.key: needs its certificate",
    ),
    (
        "name: http",
        "name: https\n tls: {ca_file: /no/such/file}",
        "protocol.tls.ca_file: cannot be read",
    ),
    (
        "name: http",
        "name: https\n tls: {server_name: a b}",
        "protocol.tls.server_name: is no host name",
    ),
    (
        "topic: test_topic",
        "topic: a b",
        "m.yaml:2:1: topic: the topic name has an illegal character at byte 1",
    ),
    (" - TestUserName\n - TestReply", " []", "methods: "),
    (
        "name: http",
        "name: ftp",
        "protocol.name: is \"ftp\"; allowed: http, https",
    ),
    ("uri: /XXX", "uri: XXX", "protocol.uri: must start with"),
    (
        "{#KEY}",
        "{#KAY}",
        "m.yaml:8:2: protocol.uri: has the unknown placeholder \"{#KAY}\"; allowed: {#TOPIC}",
    ),
    (
        "Host: www.myhug.cn",
        "a b: x",
        "m.yaml:10:5: protocol.headers.0: \"a b\" with its value is no HTTP header",
    ),
    ("Host: www.myhug.cn", "\"A\": \"x\\r\\ny\"", "is no HTTP header"),
    (
        "Host: www.myhug.cn",
        "Content-Length: 5",
        "content-length follows from the record",
    ),
    ("Host: www.myhug.cn", "Host: ''", "host is empty"),
    (
        "Host: www.myhug.cn",
        "Host: a\n  - host: b",
        "protocol.headers.1: host is given twice",
    ),
    (
        "read_timeout_ms: 0",
        "read_timeout_ms: -1",
        "protocol.read_timeout_ms: is -1; allowed: a whole number from 0",
    ),
    (
        "read_timeout_ms: 0",
        "success_status: [2xx]\n read_timeout_ms: 0",
        "protocol.success_status.0: \"2xx\" is neither",
    ),
    (
        "read_timeout_ms: 0",
        "success_status: all\n read_timeout_ms: 0",
        "m.yaml:11:18: protocol.success_status: is the text \"all\"; allowed: a list of texts, at least 1, or any",
    ),
    (
        "read_timeout_ms: 0",
        "rejected_status: [99]\n read_timeout_ms: 0",
        "m.yaml:11:20: protocol.rejected_status.0: \"99\" is neither",
    ),
    (
        "read_timeout_ms: 0",
        "rejected_status: [400, 204-205]\n read_timeout_ms: 0",
        "protocol.rejected_status: 204 is in success_status too",
    ),
    (
        "read_timeout_ms: 0",
        "success_json: {field: a..b, falsy: true}\n read_timeout_ms: 0",
        "m.yaml:11:17: protocol.success_json.field: \"a..b\" is no path to a field",
    ),
    (
        "read_timeout_ms: 0",
        "success_json: {field: errno}\n read_timeout_ms: 0",
        "m.yaml:11:2: protocol.success_json: needs exactly one of equals: TEXT, falsy: true, absent: true",
    ),
    (
        "read_timeout_ms: 0",
        "success_json: {field: errno, equals: 0, absent: true}\n read_timeout_ms: 0",
        "protocol.success_json: needs exactly one of",
    ),
    (
        "read_timeout_ms: 0",
        "success_json: {field: errno, falsy: true}\n max_response_bytes: 100\n read_timeout_ms: 0",
        "protocol.success_json.max_bytes: is 65536; allowed: at most max_response_bytes, which is 100",
    ),
    (
        "worker_num: 100",
        "worker_num: 0",
        "worker_num: is 0; allowed: a whole number from 1 to 10000",
    ),
    (
        "window_size: 200",
        "window_size: -1",
        "window_size: is -1; allowed: a whole number from 1 to 1000000",
    ),
    (
        "max_retry_times: -1",
        "max_retry_times: -2",
        "max_retry_times: is -2; allowed: a whole number from -1",
    ),
    (
        "fail_retry_interval_ms: 200",
        "fail_retry_interval_ms: soon",
        "fail_retry_interval_ms: is the text \"soon\"",
    ),
    (
        "10.1.2.3:80",
        "10.1.2.3",
        "backend_servers: entry 3 is \"10.1.2.3\", which has no port",
    ),
    (
        "10.1.2.3:80",
        "http://a:80",
        "backend_servers: entry 3 is \"http://a:80\", which has no legal host",
    ),
    (
        "worker_num:",
        "retry: {backoff: exponential, max_interval_ms: 100}\nworker_num:",
        "m.yaml:14:31: retry.max_interval_ms: is 100, less than fail_retry_interval_ms, which is 200",
    ),
    (
        "worker_num:",
        "exhausted: forget\nworker_num:",
        "exhausted: is \"forget\"; allowed: drop, dead_letter, log, block, stop",
    ),
    (
        "worker_num:",
        "exhausted: dead_letter\nworker_num:",
        "m.yaml:14:1: exhausted: is dead_letter, which needs dead_letter.topic",
    ),
    (
        "worker_num:",
        "exhausted: dead_letter\ndead_letter: {topic: a b}\nworker_num:",
        "dead_letter.topic: the topic name has an illegal character",
    ),
    (
        "worker_num:",
        "exhausted: dead_letter\ndead_letter: {topic: test_topic}\nworker_num:",
        "dead_letter.topic: is the topic of the module itself",
    ),
    (
        "worker_num:",
        "exhausted: log\nworker_num:",
        "exhausted: is log, which needs exhausted_log.path",
    ),
    (
        "worker_num:",
        "stalled_key: {}\nworker_num:",
        "stalled_key: needs attempts or age_ms above 0",
    ),
    (
        "worker_num:",
        "retry: {backof: fixed}\nworker_num:",
        "retry.backof: is not a key that is known here; did you mean backoff?",
    ),
    (
        "worker_num:",
        "drain_timeout_ms: 30001\nworker_num:",
        "drain_timeout_ms: is 30001; allowed: a whole number from 0",
    ),
    (
        "worker_num:",
        "max_uncommitted: 0\nworker_num:",
        "max_uncommitted: is 0; allowed",
    ),
    (
        "worker_num:",
        "initial_offset: newest\nworker_num:",
        "initial_offset: is \"newest\"; allowed: earliest, latest",
    ),
    (
        "worker_num:",
        "filter: {in: [a]}\nworker_num:",
        "m.yaml:14:1: filter.field: is missing; allowed: a text",
    ),
    (
        "worker_num:",
        "filter: {field: a..b, in: [a]}\nworker_num:",
        "m.yaml:14:10: filter.field: \"a..b\" has an empty name",
    ),
    (
        "worker_num:",
        "filter: {field: a, in: []}\nworker_num:",
        "filter.in: has 0 entries; allowed: a list of texts, at least 1",
    ),
    (
        "worker_num:",
        "project: {}\nworker_num:",
        "project: has 0 fields; allowed: 1 to 1000",
    ),
    (
        "worker_num:",
        "project:\n id: .id\nworker_num:",
        "m.yaml:15:2: project.id: \".id\" has an empty name",
    ),
    (
        "worker_num:",
        "project: {id: [id]}\nworker_num:",
        "project.id: is",
    ),
    (
        "worker_num:",
        "order: keys\nworker_num:",
        "order: is \"keys\"; allowed: key, partition, none",
    ),
    (
        "worker_num:",
        "order: partition\nserialize_by_key: true\nworker_num:",
        "m.yaml:15:1: serialize_by_key: says something else than order; remove it",
    ),
    (
        "worker_num:",
        "out_of_range: {above: newest}\nworker_num:",
        "out_of_range.above: is \"newest\"; allowed: stop, earliest, latest",
    ),
    (
        "worker_num:",
        "out_of_range: {after_ms: -1}\nworker_num:",
        "out_of_range.after_ms: is -1; allowed: a whole number from 0",
    ),
    (
        "worker_num:",
        "filter_expr: body.n >\nworker_num:",
        "m.yaml:14:1: filter_expr: is no CEL: line 1, column",
    ),
    (
        "worker_num:",
        "filter_expr: boddy.n > 1\nworker_num:",
        "filter_expr: speaks of \"boddy\"; known are body, topic",
    ),
    (
        "worker_num:",
        "filter_expr: body.s.matches('a')\nworker_num:",
        "filter_expr: calls \"matches\", which is not available",
    ),
    (
        "worker_num:",
        "transform_expr: \"{'a': 1}\"\nproject: {a: a}\nworker_num:",
        "transform_expr: stands beside project",
    ),
    (
        "worker_num:",
        "on_error: drop\nworker_num:",
        "on_error: is \"drop\"; allowed: skip, push, stop",
    ),
    (
        "worker_num:",
        "on_undecodable: drop\nworker_num:",
        "on_undecodable: is \"drop\"; allowed: skip, push, stop",
    ),
];

#[test]
fn each_wrong_value_of_a_module_is_one_problem_that_says_what_is_allowed() {
    for (right, wrong, expected) in WRONG {
        assert!(SEED_MODULE.contains(right), "{right}");
        let invalid = module(&SEED_MODULE.replacen(right, wrong, 1)).unwrap_err();
        assert_eq!(invalid.problems().len(), 1, "{invalid}");
        assert!(
            invalid.to_string().contains(expected),
            "{invalid} does not hold {expected:?}"
        );
    }
}

#[test]
fn the_section_retry_is_read_and_its_defaults_are_for_those_who_write_it() {
    let with = |lines: &str| module(&format!("{SEED_MODULE}{lines}")).unwrap().retry;
    let fixed = RetryPolicy::fixed(None, Duration::from_millis(200));
    let listening = RetryPolicy {
        longest_asked: Some(Duration::from_secs(300)),
        slows_down: true,
        ..fixed
    };
    assert_eq!(with(""), fixed);
    assert_eq!(with("retry: {}\n"), listening);
    assert_eq!(with("retry: {slow_down: no, retry_after_max_ms: 0}\n"), fixed);
    let growing = RetryPolicy {
        ceiling: Some(Duration::from_secs(60)),
        longest: Some(Duration::from_secs(3600)),
        ..listening
    };
    assert_eq!(
        with("retry: {backoff: exponential, max_elapsed_ms: 3_600_000}\n"),
        growing
    );
}

#[test]
fn what_follows_the_last_attempt_is_read_and_a_last_attempt_that_never_comes_is_warned_of() {
    let with = |lines: &str| module(&format!("{SEED_MODULE}{lines}")).unwrap();
    assert_eq!(with("").last, LastResort::Drop);
    assert!(with("").warnings().is_empty());
    let dead = "exhausted: dead_letter\ndead_letter: {topic: dead}\n";
    assert_eq!(
        with(dead).last,
        LastResort::DeadLetter(TopicName::try_from("dead".to_owned()).unwrap())
    );
    let log = with("exhausted: log\nexhausted_log: {path: ./log/m.jsonl}\n").last;
    let expected = LogSettings {
        path: "./log/m.jsonl".into(),
        rotate_bytes: 67_108_864,
        keep: 100,
    };
    assert_eq!(log, LastResort::Log(expected));
    assert!(with(dead).keeps_headers() && !with("exhausted: block\n").keeps_headers());
    let warnings = with("exhausted: stop\n").warnings();
    assert!(
        warnings[0].contains("exhausted: stop is never reached"),
        "{warnings:?}"
    );
    for ends in [
        SEED_MODULE.replace("max_retry_times: -1", "max_retry_times: 3"),
        SEED_MODULE.replacen(" read_timeout", " rejected_status: [400]\n read_timeout", 1),
        format!("{SEED_MODULE}retry: {{max_elapsed_ms: 1}}\n"),
    ] {
        let module = module(&format!("{ends}{dead}")).unwrap();
        assert!(module.warnings().is_empty(), "{ends}");
    }
    let told = with("slow_time_ms: 500\nstalled_key: {attempts: 5}\n");
    assert_eq!(told.slow, Some(Duration::from_millis(500)));
    let stalled = StalledKey {
        attempts: Some(5),
        age: None,
    };
    assert_eq!(told.stalled, Some(stalled));
}

#[test]
fn the_rules_of_success_are_read() {
    let with = |lines: &str| {
        let text = SEED_MODULE.replacen(" read_timeout_ms", &format!("{lines} read_timeout_ms"), 1);
        module(&text).unwrap().rules
    };
    let any = with(" success_status: any\n");
    assert_eq!(any.success, Statuses::parse(["200-599"]).unwrap());
    let rejected = with(" rejected_status: [400, 410-422]\n").rejected;
    assert_eq!(rejected, Statuses::parse(["400", "410-422"]).unwrap());
    for (written, condition) in [
        ("equals: 0", Condition::Equals("0".to_owned())),
        ("equals: ''", Condition::Equals(String::new())),
        ("falsy: true", Condition::Falsy),
        ("absent: yes", Condition::Absent),
    ] {
        let rule = with(&format!(" success_json: {{field: errno, {written}}}\n"));
        let rule = rule.body.unwrap();
        assert_eq!((rule.condition, rule.max_bytes), (condition, 65_536), "{written}");
    }
}

#[test]
fn problems_that_the_table_cannot_say_come_together_too() {
    let text = SEED_MODULE
        .replace("topic: test_topic", "topic: ..")
        .replace("uri: /XXX", "uri: XXX");
    let text = text.replace("Host: www.myhug.cn", "'': x");
    assert_eq!(module(&text).unwrap_err().problems().len(), 3);
}

#[test]
fn one_broken_module_leaves_the_others_and_names_the_file_that_was_meant() {
    let broken = SEED_MODULE.replace("worker_num: 100", "worker_num: 0");
    let files = [("good.yaml", SEED_MODULE), ("broken.yaml", broken.as_str())];
    let directory = directory("[godo, good, broken, good, ../good, good.yaml]", &files);
    let main = load_from(&directory).unwrap();
    let valid: Vec<bool> = main.modules.iter().map(|entry| entry.module.is_ok()).collect();
    assert_eq!(valid, [false, true, false, false, false, false]);
    let messages: Vec<String> = main.base.tolerated.iter().map(ToString::to_string).collect();
    let expected = [
        "the nearest existing file is",
        "worker_num: is 0",
        "module_enabled.3: is listed twice",
        "module_enabled.4: is no module name",
        "module_enabled.5: is no module name",
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.contains(expected), "{message}");
    }
    assert!(messages[0].contains("good.yaml"), "{}", messages[0]);
}

#[test]
fn a_module_file_that_is_repaired_is_read_again_and_a_double_entry_never_starts() {
    let directory = directory("[a, b, b]", &[("b.yaml", SEED_MODULE)]);
    let main = load_from(&directory).unwrap();
    let [a, b, double] = &main.modules[..] else {
        panic!("three entries")
    };
    assert!(a.module.is_err());
    fs::write(a.path.as_ref().unwrap(), SEED_MODULE).unwrap();
    let again = main.read_modules().unwrap();
    assert_eq!(again[0].module.as_ref().unwrap().name, "a");
    assert_eq!(again[1].module, b.module);
    assert!(double.path.is_none() && again[2].module.is_err());
}

#[test]
fn all_modules_of_a_directory_are_those_that_are_there() {
    let directory = directory("all", &[]);
    // The main file itself lies there too: a module as any other, and a wrong one.
    let main = load_from(&directory).unwrap_err();
    assert!(main.to_string().contains("topic: is missing"), "{main}");
    fs::create_dir(directory.path().join("modules")).unwrap();
    let path = directory.path().join("ktransfer.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let modules = directory.path().join("modules");
    fs::write(
        &path,
        text.replace(directory.path().to_str().unwrap(), modules.to_str().unwrap()),
    )
    .unwrap();
    let main = load_from(&directory).unwrap();
    assert!(
        main.modules.is_empty(),
        "an empty directory is no mistake: modules may come"
    );
    fs::write(modules.join("b.yaml"), SEED_MODULE).unwrap();
    fs::write(modules.join(".a.yaml"), SEED_MODULE).unwrap();
    fs::write(modules.join("c.yml"), SEED_MODULE).unwrap();
    let names: Vec<String> = main
        .read_modules()
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["b"]);
    fs::remove_dir_all(&modules).unwrap();
    let missing = load_from(&directory).unwrap_err().to_string();
    assert!(
        missing.contains("module_conf_dir: ") && missing.contains("cannot be read"),
        "{missing}"
    );
    let word = config::parse::<MainFile>(
        &path,
        &SEED_MAIN.replace("module_enabled:", "module_enabled: every\nx:"),
        &MAIN_SCHEMA,
    );
    assert!(word.unwrap_err().to_string().contains("or all"));
}

#[test]
fn without_a_single_valid_module_every_problem_is_reported() {
    let broken = SEED_MODULE
        .replace("worker_num: 100", "worker_num: 0")
        .replace("window_size: 200", "window_size: 0");
    let directory = directory("[a, b]", &[("b.yaml", &broken)]);
    let invalid = load_from(&directory).unwrap_err();
    assert_eq!(invalid.problems().len(), 3, "{invalid}");
}

#[test]
fn a_wrong_main_file_is_an_error_whatever_its_modules() {
    let directory = directory("[a]\nzk_chrot: /x", &[("a.yaml", SEED_MODULE)]);
    let invalid = load_from(&directory).unwrap_err();
    assert!(
        invalid
            .to_string()
            .contains("zk_chrot: is not a key that is known here; did you mean zk_chroot?")
    );
}

#[test]
fn the_documented_main_file_holds_the_defaults() {
    let text = fs::read_to_string(conf("ktransfer.yaml")).unwrap();
    let read = |text: &str| {
        let document: Document<MainFile> = config::parse(Path::new("k.yaml"), text, &MAIN_SCHEMA).unwrap();
        format!("{:?}", document.file)
    };
    let least = "{log_dir: ./log, log_level: 4, zk_hosts: [127.0.0.1], zk_chroot: /mq/test_cluster, zk_timeout_ms: 3000,\n \
                 module_conf_dir: ./conf/modules, module_enabled: [test_module_1, test_module_2]}";
    assert_eq!(read(&text), read(least));
}

#[test]
fn the_documented_module_file_holds_the_defaults_and_every_key() {
    let text = fs::read_to_string(conf("modules/test_module_1.yaml")).unwrap();
    let least = SEED_MODULE.replace("www.myhug.cn", "www.example.com");
    let servers = least.find("backend_servers").unwrap();
    let least = format!(
        "{}backend_servers: [127.0.0.1:5081, 127.0.0.1:5082]\n",
        &least[..servers]
    );
    assert_eq!(module(&text).unwrap(), module(&least).unwrap());
    // Those without a default are shown in comments.
    let shown: Vec<_> = text
        .lines()
        .map(|line| line.trim_start_matches([' ', '#']))
        .collect();
    for (section, keys) in MODULE_SCHEMA.groups {
        for key in *keys {
            let name = key.path.rsplit('.').next().unwrap();
            let is_shown = shown.iter().any(|line| line.starts_with(&format!("{name}:")));
            assert!(name == "*" || is_shown, "{section}.{}", key.path);
        }
    }
}

#[test]
fn order_is_said_by_its_key_or_by_its_former_one() {
    for (text, order) in [
        ("order: key", OrderBy::Key),
        ("order: partition", OrderBy::Partition),
        ("order: none", OrderBy::Nothing),
        ("serialize_by_key: true", OrderBy::Key),
        ("serialize_by_key: false", OrderBy::Nothing),
        ("order: none\nserialize_by_key: false", OrderBy::Nothing),
        ("order: key\nserialize_by_key: true", OrderBy::Key),
    ] {
        let module = module(&format!("{SEED_MODULE}{text}\n")).unwrap();
        assert_eq!(module.order, order, "{text}");
    }
}

#[test]
fn expressions_are_compiled_when_the_file_is_read() {
    let more = "filter_expr: body.n > 1 && topic == 't'\ntransform_expr: \"{'n': body.n, 'at': offset}\"\n";
    let content = module(&format!("{SEED_MODULE}{more}")).unwrap().content.unwrap();
    let (two, one) = (subject(br#"{"n":2}"#), subject(br#"{"n":1}"#));
    assert_eq!(
        (content.admits(&two), content.admits(&one)),
        (Ok(true), Ok(false))
    );
    assert_eq!(content.transform(&two).unwrap().unwrap(), br#"{"at":42,"n":2}"#);
}

#[test]
fn a_module_has_no_pace_unless_its_file_says_so() {
    assert_eq!(module(SEED_MODULE).unwrap().pace, Limits::default());
    let more = "max_records_per_second: 500\nmax_bytes_per_second: 1000000\n";
    let pace = module(&format!("{SEED_MODULE}{more}")).unwrap().pace;
    let found = (pace.records.unwrap().get(), pace.bytes.unwrap().get());
    assert_eq!(found, (500, 1_000_000));
}

#[test]
fn filter_and_projection_are_read_as_they_are_written() {
    let more = "filter: {field: user.type, in: [order, 7, true]}\nproject: {z: user.id, a: user.name}\non_error: push\n";
    let content = module(&format!("{SEED_MODULE}{more}")).unwrap().content.unwrap();
    assert_eq!(content.on_error, OnError::Push);
    for (kind, admitted) in [
        ("\"order\"", true),
        ("7", true),
        ("true", true),
        ("\"other\"", false),
    ] {
        let body = format!("{{\"user\": {{\"type\": {kind}, \"name\": \"n\", \"id\": 1}}}}");
        let subject = subject(body.as_bytes());
        assert_eq!(content.admits(&subject), Ok(admitted), "{kind}");
        let made = content.transform(&subject).unwrap().unwrap();
        assert_eq!(String::from_utf8(made).unwrap(), r#"{"z":1,"a":"n"}"#);
    }
}

#[test]
fn the_documented_files_name_every_key_of_the_main_file() {
    let text = fs::read_to_string(conf("ktransfer.yaml")).unwrap();
    for (_, keys) in MAIN_SCHEMA.groups {
        for key in *keys {
            let name = key.path.rsplit('.').next().unwrap();
            // `*` stands for a name.
            assert!(name == "*" || text.contains(&format!("{name}:")), "{}", key.path);
        }
    }
}

#[test]
fn the_documented_files_work_together() {
    let text = fs::read_to_string(conf("ktransfer.yaml")).unwrap();
    let modules = conf("modules");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ktransfer.yaml");
    fs::write(&path, text.replace("./conf/modules", modules.to_str().unwrap())).unwrap();
    let main = load(&path).unwrap();
    assert!(main.base.tolerated.is_empty());
    assert_eq!(main.base.admin, Listen::Default);
    assert_eq!(main.modules.len(), 2);
    let cluster = &main.clusters[&None];
    assert_eq!(cluster.zookeeper.hosts, ["127.0.0.1:2181"]);
    assert_eq!(cluster.zookeeper.session_timeout, Duration::from_secs(3));
    assert_eq!(main.body_budget_bytes, 128 * 1024 * 1024);
}

/// Writes over the main file's keys of the one cluster, and gives what is wrong with the whole.
fn with_clusters(clusters: &str, module: &str) -> Result<Main, String> {
    let directory = directory("[m]", &[("m.yaml", &format!("{SEED_MODULE}{module}"))]);
    let path = directory.path().join("ktransfer.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("zk_chroot").unwrap();
    let (_, after) = after.split_once("module_conf_dir").unwrap();
    fs::write(&path, format!("{before}{clusters}module_conf_dir{after}")).unwrap();
    load(&path).map_err(|invalid| invalid.to_string())
}

const TWO: &str = "clusters:\n  near:\n    zk_hosts: [a]\n    zk_chroot: /mq\n    librdkafka: {client.rack: x}\n  far:\n    zk_hosts: [b]\n    \
                   broker_hosts: [c:9092]\n";

#[test]
fn a_module_names_one_of_several_clusters() {
    let main = with_clusters(TWO, "cluster: far\n").unwrap();
    assert_eq!(main.clusters.len(), 2);
    let module = main.modules[0].module.as_ref().unwrap();
    let far = &main.clusters[&module.cluster];
    assert_eq!(far.zookeeper.hosts, ["b:2181"]);
    assert_eq!(far.broker_hosts, ["c:9092"]);
    assert_eq!(main.clusters[&Some("near".into())].zookeeper.chroot, "/mq");
    // Beside that of the top-level keys, which is the one of a module that names none.
    let main = with_clusters(&format!("zk_hosts: [d]\n{TWO}"), "").unwrap();
    assert_eq!(main.clusters.len(), 3);
    assert_eq!(main.clusters[&None].zookeeper.hosts, ["d:2181"]);
}

#[test]
fn clusters_that_are_not_there_are_named_with_those_that_are() {
    let missing = with_clusters(TWO, "").unwrap_err();
    assert!(
        missing.contains("cluster: is missing, and the main file has no zk_hosts; allowed: far, near"),
        "{missing}"
    );
    let other = with_clusters(TWO, "cluster: fra\n").unwrap_err();
    assert!(
        other.contains("cluster: is \"fra\"; allowed: far, near"),
        "{other}"
    );
    let none = with_clusters("", "").unwrap_err();
    assert!(none.contains("zk_hosts: is missing; allowed"), "{none}");
}

#[test]
fn options_of_librdkafka_are_checked_with_file_and_line_wherever_they_stand() {
    let bad = "zk_hosts: [a]\nlibrdkafka:\n  group.id: x\n  no.such: 1\nclusters:\n  far:\n    zk_hosts: [b]\n    librdkafka:\n      \
               fetch.min.bytes: many\n    zk_auth_file: /no/such\n";
    let message = with_clusters(bad, "").unwrap_err();
    for expected in [
        "ktransfer.yaml:6:3: librdkafka.group.id: is not taken here: a module's name is its group",
        "ktransfer.yaml:7:3: librdkafka.no.such: is refused by librdkafka: No such configuration property",
        "ktransfer.yaml:12:7: clusters.far.librdkafka.fetch.min.bytes: is refused by librdkafka",
        "clusters.far.zk_auth_file: names /no/such, which cannot be read",
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let module = "librdkafka:\n  isolation.level: read_uncommitted\n  enable.auto.commit: true\n";
    let message = with_clusters("zk_hosts: [a]\n", module).unwrap_err();
    assert!(
        message.contains("librdkafka.enable.auto.commit: is not taken here: offsets are kept in ZooKeeper"),
        "{message}"
    );
    // What does not go together shows when the cluster's are there too.
    let cluster = "zk_hosts: [a]\nlibrdkafka: {security.protocol: ssl}\n";
    let message = with_clusters(cluster, "librdkafka: {ssl.ca.location: /no/such}\n").unwrap_err();
    assert!(
        message.contains("m.yaml:")
            && message.contains("librdkafka: ")
            && message.contains("ssl.ca.location"),
        "{message}"
    );
    let module = "librdkafka: {isolation.level: read_uncommitted}\n";
    let main = with_clusters("zk_hosts: [a]\n", module).unwrap();
    assert!(!main.modules[0].module.as_ref().unwrap().options.is_empty());
}
