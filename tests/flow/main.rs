//! Flows on real sockets, in network namespaces without a name: they end with the test.

mod home;
mod net;
