//! When a record of a module is delivered, and what follows when it is not: what the table of keys cannot say of it.

use std::time::Duration;

use kcommon::config::{Document, Problem};
use kcommon::kafka::TopicName;

use super::{keep, limit};
use crate::config::module_file::{Backoff, ModuleFile, SuccessJsonFile};
use crate::dispatcher::StalledKey;
use crate::letter::Exhausted;
use crate::letters::{LastResort, LogSettings};
use crate::retry::RetryPolicy;
use crate::verdict::{BodyRule, Condition, FieldPath, Rules, Statuses};

/// All of it.
pub(super) struct Outcome {
    pub(super) rules: Rules,
    pub(super) retry: RetryPolicy,
    pub(super) last: LastResort,
    pub(super) stalled: Option<StalledKey>,
}

/// Reads it; its problems are put with the others.
pub(super) fn read(document: &Document<ModuleFile>, problems: &mut Vec<Problem>) -> Option<Outcome> {
    let rules = rules(document, problems);
    let retry = keep(problems, retry(document));
    let last = keep(problems, last(document));
    let stalled = stalled(document, problems);
    Some(Outcome {
        rules: rules?,
        retry: retry?,
        last: last?,
        stalled,
    })
}

/// The rules of success; its problems are put with the others.
fn rules(document: &Document<ModuleFile>, problems: &mut Vec<Problem>) -> Option<Rules> {
    let protocol = &document.file.protocol;
    let answer = &protocol.answer;
    let mut statuses = |key: &str, texts: &[String]| {
        let parsed = Statuses::parse(texts.iter().map(String::as_str));
        let parsed = parsed.map_err(|(nth, error)| {
            let text = texts.get(nth).map_or("", String::as_str);
            document.problem(&format!("protocol.{key}.{nth}"), format!("{text:?} {error}"))
        });
        keep(problems, parsed)
    };
    let success = statuses("success_status", answer.success_status.texts());
    let rejected = statuses("rejected_status", &answer.rejected_status);
    let body = match &answer.success_json {
        Some(file) => {
            let most = protocol.max_response_bytes;
            let rule = body_rule(file, most)
                .map_err(|(key, message)| document.problem(&format!("protocol.success_json{key}"), message));
            Some(keep(problems, rule)?)
        }
        None => None,
    };
    let (success, rejected) = (success?, rejected?);
    if let Some(status) = success.common(&rejected) {
        let message = format!("{status} is in success_status too; a status means one of the two");
        problems.push(document.problem("protocol.rejected_status", message));
    }
    Some(Rules {
        success,
        rejected,
        body,
    })
}

/// How failed pushes are repeated.
fn retry(document: &Document<ModuleFile>) -> Result<RetryPolicy, Problem> {
    let file = &document.file;
    let retries = u32::try_from(file.max_retry_times).ok();
    let interval = Duration::from_millis(file.fail_retry_interval_ms);
    let plain = RetryPolicy::fixed(retries, interval);
    let Some(more) = &file.retry else {
        return Ok(plain);
    };
    let ceiling = Duration::from_millis(more.max_interval_ms);
    if more.backoff == Backoff::Exponential && ceiling < plain.interval {
        let message = format!(
            "is {}, less than fail_retry_interval_ms, which is {}",
            more.max_interval_ms, file.fail_retry_interval_ms
        );
        return Err(document.problem("retry.max_interval_ms", message));
    }
    Ok(RetryPolicy {
        ceiling: (more.backoff == Backoff::Exponential).then_some(ceiling),
        longest: limit(more.max_elapsed_ms),
        longest_asked: limit(more.retry_after_max_ms),
        slows_down: more.slow_down,
        ..plain
    })
}

/// What follows the last attempt.
fn last(document: &Document<ModuleFile>) -> Result<LastResort, Problem> {
    let file = &document.file.last;
    Ok(match file.exhausted {
        Exhausted::Drop => LastResort::Drop,
        Exhausted::Block => LastResort::Block,
        Exhausted::Stop => LastResort::Stop,
        Exhausted::DeadLetter => {
            let missing = || document.problem("exhausted", "is dead_letter, which needs dead_letter.topic");
            let topic = &file.dead_letter.as_ref().ok_or_else(missing)?.topic;
            let wrong = |message: String| document.problem("dead_letter.topic", message);
            let topic = TopicName::try_from(topic.clone()).map_err(|error| wrong(error.to_string()))?;
            if topic.as_str() == document.file.topic {
                return Err(wrong(
                    "is the topic of the module itself, which would push its own dead letters; name another"
                        .into(),
                ));
            }
            LastResort::DeadLetter(topic)
        }
        Exhausted::Log => {
            let missing = || document.problem("exhausted", "is log, which needs exhausted_log.path");
            let log = file.exhausted_log.as_ref().ok_or_else(missing)?;
            LastResort::Log(LogSettings {
                path: log.path.clone(),
                rotate_bytes: log.rotate_bytes,
                keep: log.keep,
            })
        }
    })
}

/// When a failing record makes an alarm.
fn stalled(document: &Document<ModuleFile>, problems: &mut Vec<Problem>) -> Option<StalledKey> {
    let file = document.file.last.stalled_key?;
    if file.attempts == 0 && file.age_ms == 0 {
        problems.push(document.problem("stalled_key", "needs attempts or age_ms above 0"));
    }
    Some(StalledKey {
        attempts: (file.attempts > 0).then_some(file.attempts),
        age: limit(file.age_ms),
    })
}

/// The rule on the body, or the key below its section that is wrong and why.
fn body_rule(file: &SuccessJsonFile, most: usize) -> Result<BodyRule, (&'static str, String)> {
    let field =
        FieldPath::parse(&file.field).map_err(|error| (".field", format!("{:?} {error}", file.field)))?;
    let conditions = [
        file.equals.clone().map(Condition::Equals),
        file.falsy.then_some(Condition::Falsy),
        file.absent.then_some(Condition::Absent),
    ];
    let mut given = conditions.into_iter().flatten();
    let (Some(condition), None) = (given.next(), given.next()) else {
        let message = "needs exactly one of equals: TEXT, falsy: true, absent: true".to_owned();
        return Err(("", message));
    };
    if file.max_bytes > most {
        let message = format!(
            "is {}; allowed: at most max_response_bytes, which is {most}",
            file.max_bytes
        );
        return Err((".max_bytes", message));
    }
    Ok(BodyRule {
        field,
        condition,
        max_bytes: file.max_bytes,
    })
}
