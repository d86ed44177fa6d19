//! What handlers take from a request. Each refuses with a problem that names the field and the
//! mend, and none works on a router that is not behind the stack.

mod body;
mod caller;
mod fields;
mod target;

pub use body::{Form, Json, MachineForm};
pub use caller::{Admin, Auditor, Caller, Operator, Role, Service, Staff, Support, Visit};
pub use target::{Path, Query};
