//! The results document of a night, and what changed since earlier nights.

pub mod changes; // a night against earlier ones
pub mod report; // a night with all that a report tells
pub mod results; // results.json
