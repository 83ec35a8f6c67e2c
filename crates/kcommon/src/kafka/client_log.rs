//! What librdkafka logs, in our log: one mapping of its levels for every daemon.

use rdkafka::config::RDKafkaLogLevel;

/// Logs one line of librdkafka. Its errors are warnings here, because the client goes on by itself; what a daemon
/// cannot recover from comes as an error of a call or a callback and is logged where it is handled.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
    }
}
