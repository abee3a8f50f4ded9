//! What people read: result tables, and stacks side by side.

mod align;
mod sides;
#[cfg(test)]
mod samples;
mod table;

pub use sides::Sides;
pub use table::{new_table, summary, table};
