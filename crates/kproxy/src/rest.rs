//! The produce API that REST proxies for Kafka share (version 2): `POST /topics/{topic}`, the same for one partition, and
//! what topics there are. Programs written for it switch by changing a host name.
//!
//! One difference is meant: the HTTP status never hides a failure. 200 is said only when every record is stored; elsewhere it
//! is 207 with the outcomes of all, or the first failure's status when none is.

mod envelope;

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::access::Caller;
use crate::answer::Answer;
use crate::encoding::Encoding;
use crate::failure::Failure;
use crate::many::Many;
use crate::request::{Acks, QueryError, partition_number, topic_name};
use crate::service::{Arrival, Service};
pub(crate) use envelope::Embedded;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use envelope::read as read_envelope;

/// What a path of this API names.
#[derive(Debug, PartialEq, Eq)]
enum Resource<'p> {
    Topics,
    Topic(Cow<'p, str>),
    Partition(Cow<'p, str>, i32),
}

impl<'p> Resource<'p> {
    /// Reads a path; `None` when it is not one of this API's.
    fn of(path: &'p str) -> Option<Result<Self, Failure>> {
        let mut parts = path.strip_prefix("/topics")?.split('/');
        let (before, topic, word, number, more) = (
            parts.next()?,
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        );
        if !before.is_empty() || more.is_some() {
            return None;
        }
        match (topic.filter(|topic| !topic.is_empty()), word, number) {
            (None, None, None) => Some(Ok(Self::Topics)),
            (Some(topic), None, None) => Some(name(topic).map(Self::Topic)),
            (Some(topic), Some("partitions"), Some(number)) => {
                let number = partition_number(number).ok_or(Failure::Query(QueryError::Partition));
                Some(name(topic).and_then(|topic| Ok(Self::Partition(topic, number?))))
            }
            _ => None,
        }
    }
}

impl Resource<'_> {
    /// The methods that it takes, for `Allow`.
    const fn allowed(&self) -> &'static str {
        match self {
            Self::Topics => "GET",
            Self::Topic(_) => "GET, POST",
            Self::Partition(..) => "POST",
        }
    }
}

fn name(part: &str) -> Result<Cow<'_, str>, Failure> {
    topic_name(percent_decode_str(part).into()).map_err(Failure::Query)
}

impl Service {
    /// The answer to a path of this API; `None` when it is another path.
    pub(super) async fn rest(&self, request: Arrival<'_>) -> Option<Result<Answer, Failure>> {
        let resource = Resource::of(request.head.uri.path())?;
        request.noted.failed = envelope::failed;
        Some(match resource {
            Ok(resource) => self.serve(resource, request).await,
            Err(failure) => Err(failure),
        })
    }

    async fn serve(&self, resource: Resource<'_>, request: Arrival<'_>) -> Result<Answer, Failure> {
        let caller = self.gate.caller(&request.head.headers, request.peer).await?;
        if let Resource::Topic(topic) | Resource::Partition(topic, _) = &resource {
            // Records of this API are stored with the acknowledgement of all.
            caller.check(topic, (request.head.method == Method::POST).then_some(Acks::All))?;
        }
        if self.cluster.is_away() {
            return Err(Failure::BrokersAway);
        }
        let allowed = resource.allowed();
        match (resource, &request.head.method) {
            (Resource::Topics, &Method::GET) => {
                let mut names = self.cluster.topic_names().await?;
                names.retain(|name| caller.may_name(name));
                Ok(envelope::topics(&names))
            }
            (Resource::Topic(topic), &Method::GET) => {
                self.cluster.check_topic(&topic).await?;
                Ok(envelope::topic(&self.cluster.describe(&topic).await?))
            }
            (Resource::Topic(topic), &Method::POST) => self.produce(&topic, None, request, &caller).await,
            (Resource::Partition(topic, number), &Method::POST) => {
                self.produce(&topic, Some(number), request, &caller).await
            }
            _ => Err(Failure::Method(allowed)),
        }
    }

    async fn produce(
        &self,
        topic: &str,
        partition: Option<i32>,
        request: Arrival<'_>,
        caller: &Caller<'_>,
    ) -> Result<Answer, Failure> {
        let Arrival {
            head,
            body,
            began,
            noted,
            ..
        } = request;
        noted.records(topic, Acks::All);
        let embedded = Embedded::of(&head.headers).ok_or(Failure::EnvelopeType)?;
        let encoding = Encoding::of(&head.headers)?;
        let permit = self.admission.admit(0).map_err(Failure::Full)?;
        self.cluster.check_topic(topic).await?;
        let receiver = self.receiver(began, self.http.max_batch, caller);
        let (document, permit) = receiver.receive(body, encoding, permit).await?;
        noted.bytes = document.len();
        let entries = envelope::read(&document, embedded, partition).map_err(Failure::BadEnvelope)?;
        let mut many = Many::new(self, caller, (topic, Acks::All), permit);
        let (count, mut end) = (entries.len(), None);
        for entry in entries {
            end = many.push(entry.map_err(Failure::BadEntry)).await.err();
            if end.is_some() {
                break;
            }
        }
        let mut reports = many.finish().await;
        if let Some(end) = end {
            // What was sent before has its own outcome.
            reports.resize(count, Err(end));
        }
        Ok(envelope::produced(&reports))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        let topic = |name: &'static str| Cow::Borrowed(name);
        for (path, expected) in [
            ("/topics", Resource::Topics),
            ("/topics/", Resource::Topics),
            ("/topics/a", Resource::Topic(topic("a"))),
            ("/topics/a%2Eb", Resource::Topic(topic("a.b"))),
            ("/topics/a/partitions/7", Resource::Partition(topic("a"), 7)),
        ] {
            assert_eq!(Resource::of(path), Some(Ok(expected)), "{path}");
        }
        for path in [
            "/",
            "/topic",
            "/topics2",
            "/topics//",
            "/topics/a/",
            "/topics/a/partitions",
            "/topics/a/b/1",
            "/topics/a/partitions/1/x",
        ] {
            assert_eq!(Resource::of(path), None, "{path}");
        }
        for path in [
            "/topics/a%20b",
            "/topics/..",
            "/topics/a/partitions/x",
            "/topics/a/partitions/-1",
        ] {
            assert!(
                matches!(Resource::of(path), Some(Err(Failure::Query(_)))),
                "{path}"
            );
        }
    }
}
