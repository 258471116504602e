//! What a field may hold: bounds, and CEL rules whose messages say what is allowed.
//!
//! Each function is a schemars `transform` of one field (or of one struct) and touches only the schema. A format is
//! checked in CEL rather than by `pattern`, because the apiserver reports a refused `pattern` with the expression
//! alone. Every text and list has an upper bound: the apiserver estimates the cost of a rule from the bounds of what it
//! reads and refuses a CRD whose worst case is too expensive.

mod addresses;
mod kinds;
mod names;
mod objects;
mod schema;
mod urls;
mod values;

pub(crate) use addresses::*;
pub(crate) use kinds::*;
pub(crate) use names::*;
pub(crate) use objects::*;
pub(crate) use urls::*;
pub(crate) use values::*;
