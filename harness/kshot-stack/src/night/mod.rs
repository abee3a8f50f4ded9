//! The results document of a night, and what changed since earlier nights.

pub mod changes;
pub mod report;
pub mod results;
