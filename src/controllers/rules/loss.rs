//! How much of an instance is missing at the backend, and what is reported of it. Pure.

use crate::not_ready::NotReady;
use mailtenant_api::mail_instance::MassLossState;
use mailtenant_api::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Mailboxes that we made or took over and that are not there.
    pub missing: usize,
    /// Mailboxes that we made or took over.
    pub all: usize,
}

impl Loss {
    /// Whether it is large enough to stop for.
    pub fn large(&self, bounds: &groupware_backend::MassLoss) -> bool {
        self.missing >= bounds.minimum.max(1) as usize
            && self.missing * 100 >= bounds.percent.max(1) as usize * self.all
    }
}

/// What an object reports while a loss is held.
pub fn not_ready(instance: &str, loss: Option<Loss>) -> NotReady {
    let what = loss.map_or("many".into(), |l| format!("{} of {}", l.missing, l.all));
    NotReady::waiting(
        Reason::MassLossHeld,
        format!(
            "{what} mailboxes of MailInstance {instance} are missing at the backend: is it the right server, was it restored? \
             To have them made again, with what of their mail is still there, set the annotation {} of the instance to a new value",
            annotations::ACCEPT_MASS_LOSS
        ),
    )
}

/// Whether a person has said that what is missing is lost: a value of the annotation that was not spent before.
pub fn accepted(instance: &MailInstance) -> bool {
    let status = instance.status.clone().unwrap_or_default();
    let wish = annotation(instance, annotations::ACCEPT_MASS_LOSS);
    status.mass_loss == Some(MassLossState::Accepted) || (wish.is_some() && wish != status.accepted_mass_loss)
}

/// Whether a loss is held and nobody has accepted it.
pub fn is_held(instance: &MailInstance) -> bool {
    instance.status.as_ref().and_then(|s| s.mass_loss) == Some(MassLossState::Held) && !accepted(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large() {
        let bounds = groupware_backend::MassLoss { percent: 20, minimum: 10 };
        for (missing, all, large) in [(0, 0, false), (9, 9, false), (10, 50, true), (10, 51, false), (1000, 1000, true)]
        {
            assert_eq!(Loss { missing, all }.large(&bounds), large, "{missing} of {all}");
        }
    }
}
