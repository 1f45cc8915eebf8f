/* ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|), which cannot overflow. */
static inline float sprue_softplusf(float value)
{
    const float size = value < 0.0f ? -value : value;
    const float small = sprue_expf(-size);
    /* ln(1 + s) = s for s below half an ulp of 1 */
    const float tail = small < 5.9604645e-8f ? small : sprue_logf(1.0f + small);
    return (value > 0.0f ? value : 0.0f) + tail;
}
