//! The results document of a night, and what changed since earlier nights.

pub mod changes; // a night against earlier ones
pub mod report; // what the reports of a night are made from
pub mod results; // results.json
