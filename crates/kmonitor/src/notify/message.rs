//! What receivers read: the events of one round as one message, in the words of the templates. Pure.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::looks;
use super::rules::{Event, Step};
use super::template::{Escape, Malformed, Template};

/// Events of one message; a round with more makes several messages.
pub(crate) const MOST_EVENTS: usize = 500;

/// What may stand in the template of one event.
const EVENT_NAMES: &[&str] = &[
    "event",
    "id",
    "cluster",
    "module",
    "condition",
    "topic",
    "partition",
    "state",
    "reason",
    "lag",
    "lag_seconds",
    "since",
    "page",
    "line",
];

/// What may stand in the template of a message.
const MESSAGE_NAMES: &[&str] = &[
    "id", "cluster", "at", "title", "text", "events", "count", "opened", "reminded", "closed", "page",
];

/// The events of one round for one receiver.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// The same in every attempt to send it, and of no other message to this receiver.
    pub(crate) id: String,
    /// The cluster.
    pub(crate) cluster: String,
    /// When the round ended, in Unix time (ms).
    pub(crate) at_ms: i64,
    /// At least one.
    pub(crate) events: Vec<Event>,
}

/// The templates of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Form {
    escape: Escape,
    body: Template,
    event: Template,
    /// Where the page is, without a slash at its end; empty = nowhere.
    page_url: String,
}

impl Form {
    /// Reads both templates. With [`Escape::Json`] they have to give JSON.
    ///
    /// # Errors
    /// For each template that cannot be used, whether it is that of the message, and what is wrong.
    pub(crate) fn parse(
        escape: Escape,
        (body, event): (&str, &str),
        page_url: &str,
    ) -> Result<Self, (Place, String)> {
        let wrong = |place| move |error: Malformed| (place, error.to_string());
        let form = Self {
            escape,
            body: Template::parse(body, MESSAGE_NAMES).map_err(wrong(Place::Body))?,
            event: Template::parse(event, EVENT_NAMES).map_err(wrong(Place::Event))?,
            page_url: page_url.trim_end_matches('/').to_owned(),
        };
        if escape == Escape::Json {
            form.check_json()?;
        }
        Ok(form)
    }

    /// Every value is put in as a text, and every number as one that is not known.
    fn check_json(&self) -> Result<(), (Place, String)> {
        let sample = |name: &'static str| match name {
            "partition" | "lag" | "lag_seconds" => Cow::Borrowed("null"),
            "events" | "count" | "opened" | "reminded" | "closed" => Cow::Borrowed("0"),
            _ => Cow::Borrowed("text"),
        };
        for (place, template) in [(Place::Event, &self.event), (Place::Body, &self.body)] {
            let text = template.render(sample);
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
                let message = format!("is no JSON once it is filled in ({error}): {text}");
                return Err((place, message));
            }
        }
        Ok(())
    }

    /// The body of a message.
    #[must_use]
    pub(crate) fn body(&self, message: &Message) -> String {
        self.body.render(|name| self.value(message, name))
    }

    fn value<'a>(&self, message: &'a Message, name: &'static str) -> Cow<'a, str> {
        let text = |text: &str| Cow::Owned(self.escape.text(text));
        let count = |step: Step| {
            let alike = message.events.iter().filter(|event| event.step == step);
            Cow::Owned(alike.count().to_string())
        };
        match name {
            "id" => text(&message.id),
            "cluster" => text(&message.cluster),
            "at" => Cow::Owned(stamp(message.at_ms)),
            "title" => text(&title(message)),
            "text" => {
                let lines: Vec<String> = message.events.iter().map(line).collect();
                text(&lines.join("\n"))
            }
            "events" => Cow::Owned(self.events(message)),
            "count" => Cow::Owned(message.events.len().to_string()),
            "opened" => count(Step::Open),
            "reminded" => count(Step::Remind),
            "closed" => count(Step::Close),
            _ => text(&page(&self.page_url, &message.cluster, None)),
        }
    }

    fn events(&self, message: &Message) -> String {
        let rendered = message.events.iter().map(|event| {
            let template = &self.event;
            template.render(|name| Cow::Owned(self.event_value(event, name)))
        });
        let rendered: Vec<String> = rendered.collect();
        rendered.join(match self.escape {
            Escape::Json => ",",
            Escape::Plain => "\n",
        })
    }

    fn event_value(&self, event: &Event, name: &'static str) -> String {
        let (escape, facts) = (self.escape, &event.facts);
        let module = event.key.module.as_deref();
        match name {
            "event" => step(event.step).to_owned(),
            "id" => escape.text(&event.id),
            "cluster" => escape.text(&event.cluster),
            "module" => escape.text(module.unwrap_or_default()),
            "condition" => event.key.condition.to_string(),
            "topic" => escape.text(facts.topic.as_deref().unwrap_or_default()),
            "partition" => escape.number(facts.partition),
            "state" => looks::word(facts.state).to_owned(),
            "reason" => escape.text(&facts.reason),
            "lag" => escape.number(facts.lag),
            "lag_seconds" => escape.number(facts.lag_seconds),
            "since" => stamp(facts.since_ms),
            "line" => escape.text(&line(event)),
            _ => escape.text(&page(&self.page_url, &event.cluster, module)),
        }
    }
}

/// Which of two templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// That of the message.
    Body,
    /// That of one event.
    Event,
}

/// A template of a subject: one line of the names of a message, without its events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subject(Form);

impl Subject {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str, page_url: &str) -> Result<Self, String> {
        let form = Form::parse(Escape::Plain, (text, ""), page_url);
        form.map(Self).map_err(|(_, message)| message)
    }

    /// The line.
    #[must_use]
    pub(crate) fn line(&self, message: &Message) -> String {
        self.0.body(message).replace('\n', " ")
    }
}

const fn step(step: Step) -> &'static str {
    match step {
        Step::Open => "open",
        Step::Remind => "reminder",
        Step::Close => "close",
    }
}

/// A message in one line.
fn title(message: &Message) -> String {
    if let [event] = message.events.as_slice() {
        let condition = event.key.condition;
        return format!("{}: {}: {condition}", step(event.step), subject(event));
    }
    let counted = [Step::Open, Step::Remind, Step::Close].map(|one| {
        let alike = message.events.iter().filter(|event| event.step == one);
        match alike.count() {
            0 => String::new(),
            count => format!("{count} {}", step(one)),
        }
    });
    let counted: Vec<String> = counted.into_iter().filter(|text| !text.is_empty()).collect();
    format!("{}: {}", message.cluster, counted.join(", "))
}

/// An event in one line.
fn line(event: &Event) -> String {
    let facts = &event.facts;
    let head = format!(
        "{}: {}: {} since {}",
        step(event.step),
        subject(event),
        event.key.condition,
        stamp(facts.since_ms)
    );
    let reason = match (event.step, facts.reason.as_str()) {
        (Step::Close, "") => "over".to_owned(),
        (Step::Close, reason) => format!("over; now {reason}"),
        (_, reason) => reason.to_owned(),
    };
    if event.key.module.is_none() {
        return format!("{head}: {reason}");
    }
    let lag = Escape::Plain.number(facts.lag);
    let age = facts.lag_seconds.map(|age| format!("{age:.1} s"));
    let age = age.unwrap_or_else(|| "unknown".to_owned());
    let state = looks::word(facts.state);
    format!("{head}: {reason} (state {state}, lag {lag}, time lag {age})")
}

fn subject(event: &Event) -> String {
    match &event.key.module {
        Some(module) => format!("{}/{module}", event.cluster),
        None => event.cluster.clone(),
    }
}

/// The address of a module or a cluster on the page; empty without a page.
fn page(url: &str, cluster: &str, module: Option<&str>) -> String {
    if url.is_empty() {
        return String::new();
    }
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let cluster = encoded(cluster);
    match module {
        Some(module) => format!("{url}/?cluster={cluster}&module={}", encoded(module)),
        None => format!("{url}/?cluster={cluster}"),
    }
}

/// A Unix time (ms) as text, to the second, in UTC.
fn stamp(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests;
