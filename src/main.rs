//! The `dae` command.

fn main() {}
