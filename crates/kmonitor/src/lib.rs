//! kmonitor
