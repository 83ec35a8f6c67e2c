//! When a record of a module is delivered, and what follows when it is not: what the table of keys cannot say of it.

use std::time::Duration;

use kcommon::config::{Document, Problem};

use super::{keep, limit};
use crate::config::module_file::{Backoff, ModuleFile, SuccessJsonFile};
use crate::retry::RetryPolicy;
use crate::verdict::{BodyRule, Condition, FieldPath, Rules, Statuses};

/// The rules of success; its problems are put with the others.
pub(super) fn rules(document: &Document<ModuleFile>, problems: &mut Vec<Problem>) -> Option<Rules> {
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
pub(super) fn retry(document: &Document<ModuleFile>) -> Result<RetryPolicy, Problem> {
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
