/* A place outside of low..high thrown back by the nearer border, as often as it takes. */
static inline float sprue_reflectf(float place, float low, float high)
{
    const float range = high - low;
    const float beyond = place < low ? low - place : place - high;
    if (!(place < low || place > high) || !(beyond < 1.0e6f * range)) {
        return place;
    }
    const float turns = sprue_floorf(beyond / range);
    const float rest = beyond - turns * range;
    const float half = 0.5f * turns;
    const int32_t odd = sprue_floorf(half) != half;
    return (place < low) != odd ? low + rest : high - rest;
}
