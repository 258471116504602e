//! Rules that several kinds share.

pub mod backend_ready;
pub mod delivery;
pub mod entitlement;
pub mod ignored_fields;
pub mod loss;
pub mod mass_loss;
pub mod recovery;
pub mod release;
pub mod undeclared;
pub mod zones;
