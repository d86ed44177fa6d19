//! Forms that come back: what a page shows beside its fields where an answer was not taken. The page
//! is shown again in place, with what was typed, so that nothing is lost.

use http::StatusCode;
use kernel::{FieldProblem, Kind, Refusal, Refused};

use crate::Problem;

/// What was wrong with a form; the default says that nothing was.
#[derive(Debug, Default)]
pub struct Wrong {
    fields: Vec<FieldProblem>,
    /// What is wrong with the whole, where it is no single field.
    pub message: Option<String>,
}

impl Wrong {
    /// What is wrong with one field, for `ui::field(…, error = wrong.of("email"))`.
    #[must_use]
    pub fn of(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|wrong| wrong.field == field).map(|wrong| wrong.detail.as_str())
    }

    /// What a page shows of a refusal, with its status.
    ///
    /// # Errors
    /// Refusals that are not about the form, and failures, go on as problems.
    pub fn shown(error: impl Refusal) -> Result<(StatusCode, Self), Problem> {
        let Refused { kind, detail, fields, .. } = error.refused();
        let status = match kind {
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Forbidden
            | Kind::NotFound
            | Kind::Limited { .. }
            | Kind::Unavailable
            | Kind::Broken => return Err(error.into()),
        };
        let message = fields.is_empty().then_some(detail);
        Ok((status, Self { fields, message }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("refused")]
    struct Refusing(Kind, bool);

    impl Refusal for Refusing {
        fn refused(&self) -> Refused {
            let fields = self.1.then(|| FieldProblem::new("text", "is too long"));
            Refused::new(self.0, "demo.refused", "That does not do.").with_fields(fields)
        }
    }

    #[test]
    fn what_is_wrong_stands_beside_its_field() {
        let (status, wrong) = Wrong::shown(Refusing(Kind::Invalid, true)).unwrap();
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!((wrong.of("text"), wrong.of("other")), (Some("is too long"), None));
        assert_eq!(wrong.message, None);
        let (status, wrong) = Wrong::shown(Refusing(Kind::Conflict, false)).unwrap();
        assert_eq!(
            (status, wrong.message.as_deref()),
            (StatusCode::CONFLICT, Some("That does not do."))
        );
    }

    #[test]
    fn our_own_faults_are_no_form_errors() {
        for kind in [Kind::Broken, Kind::Unavailable, Kind::Limited { retry_after_s: 1 }] {
            assert!(Wrong::shown(Refusing(kind, false)).is_err(), "{kind:?}");
        }
    }
}
