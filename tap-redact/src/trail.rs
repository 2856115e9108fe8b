//! Where a value stands: steps from the message down to it, on the stack of whoever walks there, so that a place costs
//! nothing until something is found in it.

use crate::record::Place;

/// A step below another. Read from the last to the first.
#[derive(Clone, Copy)]
pub(crate) struct Trail<'t> {
    up: Option<&'t Trail<'t>>,
    step: Step<'t>,
}

#[derive(Clone, Copy)]
enum Step<'t> {
    /// "request.headers"
    Known(&'static str),
    /// A name from the traffic.
    Name(&'t [u8]),
    /// Somewhere in a document.
    Within(&'t dyn Steps),
}

/// Steps within a document that its walker can tell.
pub(crate) trait Steps {
    fn append_to(&self, place: Place) -> Place;
}

impl<'t> Trail<'t> {
    pub(crate) fn root(known: &'static str) -> Self {
        Self { up: None, step: Step::Known(known) }
    }

    pub(crate) fn name(&'t self, name: &'t [u8]) -> Self {
        Self { up: Some(self), step: Step::Name(name) }
    }

    pub(crate) fn known(&'t self, known: &'static str) -> Self {
        Self { up: Some(self), step: Step::Known(known) }
    }

    pub(crate) fn within(&'t self, steps: &'t dyn Steps) -> Self {
        Self { up: Some(self), step: Step::Within(steps) }
    }

    /// The place as records show it.
    pub(crate) fn place(&self) -> Place {
        let place = self.up.map(Self::place);
        match (place, self.step) {
            (None, Step::Known(known)) => Place::new(known),
            (Some(place), Step::Known(known)) => place.known(known),
            (place, Step::Name(name)) => place.unwrap_or_else(|| Place::new("")).name(name),
            (place, Step::Within(steps)) => steps.append_to(place.unwrap_or_else(|| Place::new(""))),
        }
    }
}
