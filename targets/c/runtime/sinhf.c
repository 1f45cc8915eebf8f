/* sinh, by e^|x| - 1, so that small results keep their digits and large ones do not overflow early. */
static inline float sprue_sinhf(float value)
{
    const float size = value < 0.0f ? -value : value;
    float made;
    if (size > 9.0f) {
        const float half = sprue_expf(0.5f * size);
        made = 0.5f * half * half;
    } else {
        const float less = sprue_expm1f(size);
        made = 0.5f * (less + less / (less + 1.0f));
    }
    return value < 0.0f ? -made : made;
}
