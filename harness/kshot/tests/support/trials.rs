//! Lists of tests for libtest-mimic. A function that is left out of its list is dead code, which clippy refuses.

/// Tests by the names of their functions.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        &[$((stringify!($test), $test as fn())),*]
    };
}
