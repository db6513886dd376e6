//! Objects that Python calls, awaits and iterates at the cost of its own.
//!
//! Why it exists: PyO3's `__call__` makes the interpreter build a tuple and a dict for every call, its
//! methods count an attachment, and its classes keep no memory for the next object. For the few kinds of
//! object that stand in the way of every guarded call we make the types ourselves.
//!
//! | file | what |
//! |---|---|
//! | `object` | the layout, and a reference that knows what it refers to |
//! | `class` | the type: made once, from slots |
//! | `kept` | memory of objects that are gone, for the next of their kind |
//! | `entry` | from C into Rust: attached, no panic across the border |
//! | `stop` | `StopIteration` around a value, used again |
//! | `ticks` | the time, where milliseconds do not matter |
//! | `visit` | for Python's garbage collector |
//!
//! A kind of object is a Rust value that implements [`Body`]; it is safe to have one. What is unsafe lies
//! here, and in the few functions that Python calls directly with raw pointers.
//!
//! What it deliberately does not do: anything that PyO3 does as well where nobody counts nanoseconds.

mod class;
mod entry;
mod kept;
mod object;
mod stop;
pub mod ticks;
mod visit;

pub use class::{Class, Slot, getter, method};
pub use entry::{arguments, enter, pass_on, shield};
pub use object::{Body, Raw, body};
pub use stop::{raise_stop, take_back};
pub use visit::{Stop, Visit, Visitor};
