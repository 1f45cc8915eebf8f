/* sin of value + quarter turns: the angle less multiples of pi/2 in three parts (Cody and Waite), then Cephes'
   polynomials of sin and cos up to pi/4. Below 2 ulp up to 8192; NaN for what is not finite. */
static inline float sprue_sinf(float value, int32_t quarters)
{
    const float turns = sprue_rintf(value * 0.636619772f);
    if (!(turns > -8388608.0f && turns < 8388608.0f)) {
        return __builtin_nanf("");
    }
    const float r = sprue_fma(turns, -7.54978942e-8f, sprue_fma(turns, -4.83751297e-4f, value - turns * 1.5703125f));
    const uint32_t quarter = (uint32_t)(int32_t)turns + (uint32_t)quarters;
    const float z = r * r;
    float p;
    if ((quarter & 1u) != 0u) {
        p = sprue_fma(2.443315711809948e-5f, z, -1.388731625493765e-3f);
        p = sprue_fma(p, z, 4.166664568298827e-2f);
        p = sprue_fma(p * z, z, sprue_fma(-0.5f, z, 1.0f));
    } else {
        p = sprue_fma(-1.9515295891e-4f, z, 8.3321608736e-3f);
        p = sprue_fma(p, z, -1.6666654611e-1f);
        p = sprue_fma(p * z, r, r);
    }
    return (quarter & 2u) != 0u ? -p : p;
}
