//! How use is reported: in steps, so that a status does not move with every mail.

/// Use in steps of 1 % of the quota, at least 1 MiB; 100 MiB where there is no quota.
pub fn used_step(used: u64, quota: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    let step = if quota == 0 { 100 * MIB } else { (quota / 100).next_multiple_of(MIB).max(MIB) };
    used / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_moves_in_steps() {
        let gib = 1u64 << 30;
        assert_eq!(used_step(0, gib), 0);
        assert_eq!(used_step(10 << 20, gib), 0, "less than 1 % of 1 GiB");
        assert_eq!(used_step(12 << 20, gib), 11 << 20);
        assert_eq!(used_step(3 << 20, 10 << 20), 3 << 20, "at least 1 MiB");
        assert_eq!(used_step(250 << 20, 0), 200 << 20);
    }
}
