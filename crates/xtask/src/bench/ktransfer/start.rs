//! ktransfer as a process, with one module that has read nothing yet.

use ktests::{Cluster, Daemon, Setup, unique};

use super::key;

const MODULE_URI: &str = "/push/bench?key={#KEY}&transid={#TRANSID}";

/// What ktransfer makes of its module's URI for the record at this offset.
pub(crate) fn uri(number: usize) -> String {
    format!("/push/bench?key={}&transid={number}", key(number))
}

/// Starts ktransfer with a module of its own: it begins at the topic's start.
pub(super) fn ktransfer(cluster: &Cluster, topic: &str, workers: usize, backend: u16) -> Daemon {
    let hosts = cluster.zookeeper.split(',');
    let hosts: String = hosts.map(|host| format!("  - {host}\n")).collect();
    let module = unique("bench");
    let main = format!(
        "log_dir: ./log\nlog_level: 4\nzk_hosts:\n{hosts}zk_chroot: {}\nzk_timeout_ms: 6000\n\
         module_conf_dir: ./conf/modules\nmodule_enabled:\n  - {module}\n",
        cluster.chroot
    );
    let file = format!(
        "topic: {topic}\nprotocol:\n  name: http\n  uri: {MODULE_URI}\n  read_timeout_ms: 0\n  \
         write_timeout_ms: 100\n  conn_timeout_ms: 100\nworker_num: {workers}\nwindow_size: {}\nmax_retry_times: -1\n\
         fail_retry_interval_ms: 200\nbackend_servers:\n  - 127.0.0.1:{backend}\n",
        workers * 2,
    );
    Setup::new("ktransfer", main)
        .file(format!("conf/modules/{module}.yaml"), file)
        .spawn()
}
