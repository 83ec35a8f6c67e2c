//! Kafka's own consumer groups: their names, their members with what these own, and what they have committed. rdkafka knows
//! members of the classic protocol only, and of committed offsets those of the client's own group.
//!
//! Reads only. Each call waits for its answers, for the time it is given and a little more at most.

#![expect(
    unsafe_code,
    reason = "calls into librdkafka; every block says why it is sound"
)]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

use super::{Event, text};

/// Groups that are described in one request.
const DESCRIBED_AT_ONCE: usize = 500;

/// Groups whose commits are asked for at a time.
const IN_FLIGHT: usize = 64;

/// How much longer than its time-out an answer is waited for: librdkafka answers by itself then.
const GRACE: Duration = Duration::from_secs(1);

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name that its client gave itself.
    pub client: String,
    /// Its host, as the broker sees it.
    pub host: String,
    /// Its id in the group.
    pub id: String,
    /// The topics and partitions that it owns.
    pub owns: Vec<(String, i32)>,
}

/// A topic, a partition, and the next offset that the group will read.
pub type Commit = (String, i32, i64);

/// What could be read of a group; an error concerns that part of that group alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its members.
    pub members: Result<Vec<Member>, RDKafkaErrorCode>,
    /// What it has committed.
    pub commits: Result<Vec<Commit>, RDKafkaErrorCode>,
}

/// The groups of a cluster that consume, by name.
///
/// # Errors
/// The names cannot be read from every broker in time.
pub fn groups<C: ClientContext>(
    client: &Client<C>,
    patience: Duration,
) -> Result<BTreeMap<String, Group>, RDKafkaErrorCode> {
    let asking = Asking::new(client, patience);
    let names = asking.names()?;
    let mut members = asking.members(&names);
    let mut commits = asking.commits(&names);
    let late = RDKafkaErrorCode::OperationTimedOut;
    let group = |name: String| {
        let group = Group {
            members: members.remove(&name).unwrap_or(Err(late)),
            commits: commits.remove(&name).unwrap_or(Err(late)),
        };
        (name, group)
    };
    Ok(names.into_iter().map(group).collect())
}

/// Requests of one client, and the queue of their answers.
struct Asking<'c, C: ClientContext> {
    client: &'c Client<C>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    patience: Duration,
}

impl<C: ClientContext> Drop for Asking<'_, C> {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; answers that still come to it are dropped by librdkafka.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Options of a request, destroyed with their handle.
struct Options(NonNull<sys::rd_kafka_AdminOptions_t>);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the pointer came from rd_kafka_AdminOptions_new; requests have copied it.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

impl<'c, C: ClientContext> Asking<'c, C> {
    fn new(client: &'c Client<C>, patience: Duration) -> Self {
        // SAFETY: the client is alive as long as the borrow.
        let queue = unsafe { sys::rd_kafka_queue_new(client.native_ptr()) };
        Self {
            client,
            queue: NonNull::new(queue).expect("librdkafka aborts when memory ends"),
            patience,
        }
    }

    fn options(&self, request: sys::rd_kafka_admin_op_t) -> Options {
        // SAFETY: the client is alive, and the request is one that takes options.
        let options = unsafe { sys::rd_kafka_AdminOptions_new(self.client.native_ptr(), request) };
        let options = NonNull::new(options).expect("the request is known to this librdkafka");
        let millis = c_int::try_from(self.patience.as_millis()).unwrap_or(c_int::MAX);
        let mut error: [c_char; 128] = [0; 128];
        // SAFETY: the options are alive, and the buffer is as long as it says. A time out of range leaves the default.
        unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options.as_ptr(),
                millis,
                error.as_mut_ptr(),
                error.len(),
            );
        }
        Options(options)
    }

    /// The next answer, if it comes before `deadline`.
    fn answer(&self, deadline: Instant) -> Option<Event> {
        let left = deadline.saturating_duration_since(Instant::now());
        let millis = c_int::try_from(left.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive until `drop`.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), millis) };
        NonNull::new(event).map(Event)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience + GRACE
    }

    fn names(&self) -> Result<Vec<String>, RDKafkaErrorCode> {
        let options = self.options(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
        // SAFETY: client, options and queue are alive; the call copies the options.
        unsafe {
            sys::rd_kafka_ListConsumerGroups(
                self.client.native_ptr(),
                options.0.as_ptr(),
                self.queue.as_ptr(),
            );
        }
        let event = self
            .answer(self.deadline())
            .ok_or(RDKafkaErrorCode::OperationTimedOut)?;
        failure(&event)?;
        // SAFETY: the event is alive; null if it is another kind.
        let result = unsafe { sys::rd_kafka_event_ListConsumerGroups_result(event.0.as_ptr()) };
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let mut count = 0;
        // SAFETY: the result lives as long as the event; the errors are read while it does.
        let errors = unsafe {
            let errors = sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut count);
            slice(errors, count)
        };
        if let Some(error) = errors.first() {
            // A broker that does not tell hides the groups that it coordinates.
            return code(*error).map_or(Err(RDKafkaErrorCode::Fail), Err);
        }
        // SAFETY: as above; every name is copied.
        Ok(unsafe {
            let listed = sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count);
            let name = |group: &*const _| text(sys::rd_kafka_ConsumerGroupListing_group_id(*group));
            slice(listed, count).iter().map(name).collect::<Vec<String>>()
        })
    }

    fn members(&self, names: &[String]) -> BTreeMap<String, Result<Vec<Member>, RDKafkaErrorCode>> {
        let mut members = BTreeMap::new();
        for chunk in names.chunks(DESCRIBED_AT_ONCE) {
            let names: Vec<CString> = chunk
                .iter()
                .filter_map(|name| CString::new(name.as_str()).ok())
                .collect();
            let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
            let options = self.options(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
            // SAFETY: everything is alive for the call, which copies names and options.
            unsafe {
                sys::rd_kafka_DescribeConsumerGroups(
                    self.client.native_ptr(),
                    pointers.as_mut_ptr(),
                    pointers.len(),
                    options.0.as_ptr(),
                    self.queue.as_ptr(),
                );
            }
            let Some(event) = self.answer(self.deadline()) else {
                break;
            };
            described(&event, &mut members);
        }
        members
    }

    fn commits(&self, names: &[String]) -> BTreeMap<String, Result<Vec<Commit>, RDKafkaErrorCode>> {
        let mut commits = BTreeMap::new();
        for chunk in names.chunks(IN_FLIGHT) {
            let asked = chunk.iter().filter(|name| self.ask_commits(name)).count();
            let deadline = self.deadline();
            for _ in 0..asked {
                let Some(event) = self.answer(deadline) else {
                    return commits;
                };
                committed(&event, &mut commits);
            }
        }
        commits
    }

    /// Asks for the commits of a group; `false` if its name cannot be asked for.
    fn ask_commits(&self, name: &str) -> bool {
        let Ok(name) = CString::new(name) else {
            return false;
        };
        let options = self.options(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
        // SAFETY: the name is copied, null asks for all partitions; the request is copied by the call and then destroyed.
        unsafe {
            let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null());
            sys::rd_kafka_ListConsumerGroupOffsets(
                self.client.native_ptr(),
                &raw mut request,
                1,
                options.0.as_ptr(),
                self.queue.as_ptr(),
            );
            sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
        }
        true
    }
}

fn described(event: &Event, members: &mut BTreeMap<String, Result<Vec<Member>, RDKafkaErrorCode>>) {
    // SAFETY: the event is alive; null if it is another kind.
    let result = unsafe { sys::rd_kafka_event_DescribeConsumerGroups_result(event.0.as_ptr()) };
    if failure(event).is_err() || result.is_null() {
        return;
    }
    let mut count = 0;
    // SAFETY: the groups and all that hangs on them live as long as the event, and are copied.
    unsafe {
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        for group in slice(groups, count) {
            let name = text(sys::rd_kafka_ConsumerGroupDescription_group_id(*group));
            let told = match code(sys::rd_kafka_ConsumerGroupDescription_error(*group)) {
                Some(error) => Err(error),
                None => {
                    let count = sys::rd_kafka_ConsumerGroupDescription_member_count(*group);
                    let each =
                        (0..count).map(|nth| sys::rd_kafka_ConsumerGroupDescription_member(*group, nth));
                    Ok(each.map(|one| member(one)).collect())
                }
            };
            members.insert(name, told);
        }
    }
}

/// # Safety
/// `member` is not null and lives during the call.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> Member {
    // SAFETY: as the caller promises; what hangs on the member lives as long.
    unsafe {
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let owns = match assignment.is_null() {
            true => Vec::new(),
            false => partitions(sys::rd_kafka_MemberAssignment_partitions(assignment)),
        };
        Member {
            client: text(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text(sys::rd_kafka_MemberDescription_host(member)),
            id: text(sys::rd_kafka_MemberDescription_consumer_id(member)),
            owns: owns
                .into_iter()
                .map(|(topic, partition, _)| (topic, partition))
                .collect(),
        }
    }
}

fn committed(event: &Event, commits: &mut BTreeMap<String, Result<Vec<Commit>, RDKafkaErrorCode>>) {
    // SAFETY: the event is alive; null if it is another kind.
    let result = unsafe { sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.0.as_ptr()) };
    // An error of the whole does not say whose; the group is then missing.
    if failure(event).is_err() || result.is_null() {
        return;
    }
    let mut count = 0;
    // SAFETY: the groups and their partitions live as long as the event, and are copied.
    unsafe {
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        for group in slice(groups, count) {
            let name = text(sys::rd_kafka_group_result_name(*group));
            let told = match code(sys::rd_kafka_group_result_error(*group)) {
                Some(error) => Err(error),
                None => {
                    let mut told = partitions(sys::rd_kafka_group_result_partitions(*group));
                    told.retain(|(_, _, offset)| *offset >= 0);
                    Ok(told)
                }
            };
            commits.insert(name, told);
        }
    }
}

/// # Safety
/// `list` is null, or lives during the call.
unsafe fn partitions(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<Commit> {
    // SAFETY: as the caller promises; a list has as many elements as it says, unless there are none.
    unsafe {
        let Some(list) = list.as_ref() else {
            return Vec::new();
        };
        let count = usize::try_from(list.cnt).unwrap_or_default();
        if count == 0 || list.elems.is_null() {
            return Vec::new();
        }
        let elements = std::slice::from_raw_parts(list.elems, count);
        let good = elements
            .iter()
            .filter(|one| one.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        good.map(|one| (text(one.topic), one.partition, one.offset))
            .collect()
    }
}

/// # Safety
/// `first` is null, or the first of `count` pointers that live as long as the event that they came from.
unsafe fn slice<'e, T>(first: *mut *const T, count: usize) -> &'e [*const T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(first, count) }
}

fn failure(event: &Event) -> Result<(), RDKafkaErrorCode> {
    // SAFETY: the event is alive.
    let error = unsafe { sys::rd_kafka_event_error(event.0.as_ptr()) };
    match error {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(error.into()),
    }
}

/// The code of an error; `None` if there is none.
fn code(error: *const sys::rd_kafka_error_t) -> Option<RDKafkaErrorCode> {
    // SAFETY: null means no error for librdkafka too; else it lives as long as the event that is still held.
    match unsafe { sys::rd_kafka_error_code(error) } {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => None,
        error => Some(error.into()),
    }
}
