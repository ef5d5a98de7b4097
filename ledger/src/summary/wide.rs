//! 256-bit unsigned integers with the operations that sums of squares need.

/// An integer from 0 to 2²⁵⁶ − 1. The derived order compares `high` first, so the order of the fields matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Wide {
    high: u128,
    low: u128,
}

impl Wide {
    pub(super) const ZERO: Self = Self { high: 0, low: 0 };
    pub(super) const MAX: Self = Self { high: u128::MAX, low: u128::MAX };

    /// The product, which always fits.
    pub(super) fn product(one: u128, other: u128) -> Self {
        let (low, high) = one.carrying_mul(other, 0);
        Self { high, low }
    }

    pub(super) fn square(of: u128) -> Self {
        Self::product(of, of)
    }

    /// The sum, if it fits.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        let (low, carry) = self.low.overflowing_add(other.low);
        let high = self.high.checked_add(other.high)?.checked_add(u128::from(carry))?;
        Some(Self { high, low })
    }

    /// The difference, if it is not negative.
    pub(super) fn minus(self, other: Self) -> Option<Self> {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        let high = self.high.checked_sub(other.high)?.checked_sub(u128::from(borrow))?;
        Some(Self { high, low })
    }

    /// The product with a 128-bit number, if it fits.
    pub(super) fn times(self, factor: u128) -> Option<Self> {
        let Self { high, low } = Self::product(self.low, factor);
        Some(Self { high: self.high.checked_mul(factor)?.checked_add(high)?, low })
    }

    /// The quotient by a number below 2⁶⁴, if there is no remainder.
    pub(super) fn divided_exactly_by(self, divisor: u64) -> Option<Self> {
        let divisor = u128::from(divisor);
        let (high, rest) = (self.high.checked_div(divisor)?, self.high.checked_rem(divisor)?);
        // The lower half is divided in two steps, so that a remainder and the next 64 bits fit into 128 bits.
        let upper = (rest << 64) | (self.low >> 64);
        let lower = ((upper % divisor) << 64) | (self.low & u128::from(u64::MAX));
        let low = ((upper / divisor) << 64) | (lower / divisor);
        lower.is_multiple_of(divisor).then_some(Self { high, low })
    }

    /// Both halves, lower one first.
    pub(super) fn halves(self) -> [u128; 2] {
        [self.low, self.high]
    }

    /// Joins both halves, lower one first.
    pub(super) fn from_halves([low, high]: [u128; 2]) -> Self {
        Self { high, low }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wide() -> impl Strategy<Value = Wide> {
        // Half of the numbers are small enough that sums and products fit.
        let number = prop_oneof![any::<u128>(), (0..=u128::from(u64::MAX))];
        (number.clone(), number).prop_map(|(high, low)| Wide { high, low })
    }

    proptest! {
        #[test]
        fn arithmetic_undoes_itself(a in wide(), b in wide(), factor in 1..=u64::MAX) {
            if let Some(sum) = a.plus(b) {
                prop_assert_eq!((sum.minus(b), sum >= a), (Some(a), true));
            }
            prop_assert_eq!(a.minus(b).is_some(), a >= b);
            if let Some(product) = a.times(u128::from(factor)) {
                prop_assert_eq!(product.divided_exactly_by(factor), Some(a));
                let more = product.plus(Wide { high: 0, low: 1 });
                let divides = more.and_then(|more| more.divided_exactly_by(factor)).is_some();
                prop_assert_eq!(divides, factor == 1 && more.is_some());
            }
        }

        #[test]
        fn products_are_sums_of_parts(a in any::<u128>(), b in any::<u128>()) {
            let half = |number: u128| (number >> 64, number & u128::from(u64::MAX));
            let ((a1, a0), (b1, b0)) = (half(a), half(b));
            let shifted = |number: u128| Wide { high: number >> 64, low: number << 64 };
            let parts = [Wide { high: a1 * b1, low: a0 * b0 }, shifted(a1 * b0), shifted(a0 * b1)];
            let sum = parts.into_iter().try_fold(Wide::ZERO, Wide::plus);
            prop_assert_eq!(sum, Some(Wide::product(a, b)));
            prop_assert_eq!(Wide::from_halves(Wide::product(a, b).halves()), Wide::product(a, b));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let most = Wide::MAX;
        assert_eq!(most.plus(Wide { high: 0, low: 1 }), None);
        assert_eq!(Wide::ZERO.minus(Wide { high: 0, low: 1 }), None);
        assert_eq!(most.times(2), None);
        assert_eq!(Wide::square(u128::MAX).times(u128::MAX), None);
    }
}
