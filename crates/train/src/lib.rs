//! Learns a policy with libtorch against an environment server, and judges it on held-out days.
