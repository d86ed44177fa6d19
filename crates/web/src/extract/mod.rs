//! What handlers take from a request. Each refuses with a problem that names the field and the
//! mend, and none works on a router that is not behind the stack.

mod body;
mod caller;
mod fields;
mod target;

pub use body::{Form, Json, MachineForm};
pub(crate) use body::{Sent, is_form};
pub use caller::{
    Admin, Auditor, Caller, Device, HalfWay, Operator, Role, Service, Staff, Support, Visit,
};
pub(crate) use caller::{Known, is_met, known};
pub use target::{Path, Query};
