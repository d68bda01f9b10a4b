from django.urls import path

from directory.connector import views

app_name = "connector"
urlpatterns = [
    path("start/", views.start, name="start"),
    path("consent/", views.consent, name="consent"),
    path("code/", views.code, name="code"),
    path("continue/<slug:flow_id>/", views.continue_page, name="continue"),
    path("continue/<slug:flow_id>/go/", views.go, name="go"),
    path("end/", views.end, name="end"),
    path("signed-out/", views.signed_out, name="signed-out"),
    path("refused/<slug:reason>/", views.refused, name="refused"),
]
