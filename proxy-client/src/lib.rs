//! The library that a proxy links, and the binary tollgate-proxy.
