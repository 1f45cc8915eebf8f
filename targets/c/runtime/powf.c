/* base^power. Whole powers up to 64 by repeated squares, whose error is that of a few products; others by
   e^(power ln base), whose relative error grows with the size of that product. */
static inline float sprue_powf(float base, float power)
{
    const float whole = sprue_rintf(power);
    const float size = base < 0.0f ? -base : base;
    if (whole == power && power >= -64.0f && power <= 64.0f) {
        uint32_t left = (uint32_t)(int32_t)(power < 0.0f ? -power : power);
        float factor = base;
        float product = 1.0f;
        for (; left != 0u; left >>= 1) {
            product = (left & 1u) != 0u ? product * factor : product;
            factor *= factor;
        }
        return power < 0.0f ? 1.0f / product : product;
    }
    if (base == 1.0f) {
        return 1.0f;
    }
    if (base < 0.0f && whole != power) {
        return __builtin_nanf("");
    }
    const float made = sprue_expf(power * sprue_logf(size));
    const float half = 0.5f * whole;
    return base < 0.0f && sprue_rintf(half) != half ? -made : made;
}
