//! Between whom a coordinator stands: the module with its line, and the process.

use std::time::Duration;

use kcommon::kafka::TopicName;
use kcommon::readiness::Latch;
use tokio::sync::mpsc;

use crate::assignment::{Epochs, Order, Report};
use crate::config::InitialOffset;
use crate::sessions::Sessions;
use crate::watermarks::Watermarks;

/// What coordination needs to know of a module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its name, which is its consumer group in ZooKeeper.
    pub name: String,
    /// The one topic that it delivers.
    pub topic: TopicName,
    /// Where it begins when it has never run.
    pub initial_offset: InitialOffset,
    /// What its requests in flight get when a partition is given up.
    pub drain_timeout: Duration,
}

/// What all coordinators of the process share.
#[derive(Clone, Debug)]
pub struct Process {
    /// The process's id in every group: [`super::new_id`], once.
    pub member: String,
    /// The session.
    pub sessions: Sessions,
    /// The process's counter of epochs; the session's keeper has the same.
    pub epochs: Epochs,
    /// The client that asks the brokers.
    pub watermarks: Watermarks,
}

/// The line to the module.
#[derive(Debug)]
pub struct Link {
    /// To the module; it must go on receiving until it ends.
    pub orders: mpsc::Sender<Order>,
    /// From the module; when it closes, the module has ended.
    pub reports: mpsc::Receiver<Report>,
    /// Says why the module does not run as it should.
    pub latch: Latch,
}

/// Why a coordinator has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to; everything was drained and released, or its time was up.
    Stopped,
    /// Its module ended first; its claims have been given up.
    ModuleEnded,
}
